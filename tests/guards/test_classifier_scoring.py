"""`sluicegate guards score`: a file in, the same lines with scores out, or nothing."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.guards import app

run = CliRunner().invoke


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "in.jsonl", tmp_path / "out.jsonl"


def test_each_line_gets_its_scores(files):
    """Prompt categories come from the prompt, response ones from the response; order and other fields are kept."""
    source, target = files
    lines = [
        {"prompt": "How do I bake bread?", "response": None, "id": 1},
        {"prompt": "How do I bake bread?", "response": "Mix flour, water and salt, then wait.", "id": 2},
        {"prompt": None, "response": "Mix flour, water and salt, then wait.", "id": 3},
    ]
    source.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    done = run(app, ["score", "--in", str(source), "--out", str(target)])
    assert done.exit_code == 0, done.output
    scored = [json.loads(line) for line in target.read_text().splitlines()]
    assert [s["id"] for s in scored] == [1, 2, 3]
    assert "harm" in scored[0]["scores"]
    assert "response_harm" not in scored[0]["scores"]
    assert {"harm", "response_harm"} <= scored[1]["scores"].keys()
    assert "harm" not in scored[2]["scores"]
    assert all(0 <= p <= 1 for s in scored for p in s["scores"].values())
    assert scored[1]["scores"]["toxicity"] >= max(s["scores"]["toxicity"] for s in (scored[0], scored[2])) - 0.02


@pytest.mark.parametrize(
    "bad", ["not json", '["a list"]', '{"prompt": 5}', '{"prompt": "", "response": null}', '{"text": "hello"}']
)
def test_a_bad_line_is_named_and_nothing_is_written(files, bad):
    """A line that cannot be scored stops everything: its number is told, and no output file is left."""
    source, target = files
    source.write_text(f'{{"prompt": "fine"}}\n{bad}\n')
    done = run(app, ["score", "--in", str(source), "--out", str(target)])
    assert done.exit_code != 0
    assert "in.jsonl:2" in done.output
    assert list(target.parent.iterdir()) == [source]


def test_a_missing_file_is_a_clear_error(files):
    """A file that is not there is told in one line, without a traceback."""
    done = run(app, ["score", "--in", str(files[0]), "--out", str(files[1])])
    assert done.exit_code != 0
    assert "cannot be read" in done.output
    assert "Traceback" not in done.output


def test_what_ships_is_listed():
    """`guards list` names the default guard, `guards show` tells what it judges where."""
    listed, shown = run(app, ["list"]), run(app, ["show", "default"])
    assert (listed.exit_code, shown.exit_code) == (0, 0)
    assert "default" in listed.output
    assert "response_harm" in shown.output
