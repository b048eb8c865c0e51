"""A guard beside another one and beside the lexical floor, on the same held-out rows."""

import json


def test_figures_stand_side_by_side(train, data, trained, command, tmp_path):
    """By head and source: the guard, another guard and the floor on as many rows; equal guards, equal figures."""
    out = tmp_path / "figures.json"
    given = ["--guard", str(trained), "--against", str(trained), "--floor", "--json", str(out), *command[:2]]
    train("-m", "training.evaluate_guard", *given, SLUICEGATE_DATA=str(data))
    for sources in json.loads(out.read_text()).values():
        for figures in sources.values():
            assert figures.keys() == {"guard", "against", "floor", "difference"}
            assert figures["guard"] == figures["against"]
            assert {figure["value"] for figure in figures["difference"].values()} == {0}
            assert len({figures[side]["rows"] for side in ("guard", "against", "floor")}) == 1


def test_an_unknown_source_is_refused(train, data, command):
    """A source that is not among those to leave out is named, with those that are."""
    given = ["--leave-source-out", "nobody", *command[:2]]
    program = "from training.cli import main; main()"
    done = train("-c", program, "evaluate-guard", *given, check=False, SLUICEGATE_DATA=str(data))
    assert done.returncode == 2
    assert "nobody" in done.stderr
    assert "WildGuardTrainR" in done.stderr
