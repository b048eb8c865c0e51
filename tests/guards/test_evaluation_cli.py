import json
import os
import shutil
import sys
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from guards.evaluation.audit import audited
from guards.evaluation.evaluate import by, judged
from guards.evaluation.rows import read, tasks
from guards.registry import MODELS, load
from service.cli.main import app

PROVE = bool(os.environ.get("SLUICEGATE_PROVE"))
DATA = Path(os.environ.get("SLUICEGATE_DATA") or "../shared/data") / "dev"


@pytest.fixture
def run(monkeypatch, tmp_path):
    for name in [n for n in os.environ if n.startswith("SLUICEGATE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path))
    monkeypatch.setenv("SLUICEGATE_DATA", str(tmp_path))

    def command(*words, code=0):
        result = CliRunner().invoke(app, ["guards", *map(str, words)])
        assert result.exit_code == code, result.output
        return result

    return command


@pytest.fixture
def towns(tmp_path):
    """Forty prompts with a label each; half of the words in them are only in one label."""
    lines = [
        {
            "prompt": f"Where can I {'buy bread' if i % 2 else 'see the harbour'} in town number {i}?",
            "labels": {"harm": i % 2, "odd": 0},
            "language": ("en", "de")[i % 2],
        }
        for i in range(40)
    ]
    path = tmp_path / "towns.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_eval_measures_and_reports(run, towns, tmp_path):
    """`guards eval` prints figures beside the floor and the other guard, and writes them as JSON and as HTML."""
    old = tmp_path / "old"
    shutil.copytree(MODELS / "default", old)
    out, figures = tmp_path / "report.html", tmp_path / "figures.json"
    shown = run(
        "eval", "--set", f"towns={towns}", "--against", old, "--out", out, "--json", figures, "--draws", 20
    ).stdout
    assert "floor_cross_validated" in shown
    assert "guard minus" in shown
    assert "'odd' that the guard does not judge" in shown
    told = json.loads(figures.read_text())["sets"]["towns"]["categories"]["harm"]
    assert told["ahead_of"]["against"]["auprc"] == {"value": 0, "low": 0, "high": 0}
    assert told["by"]["language"]["values"]["de"]["positive"] == 20
    assert told["threshold"] == 0.5
    assert "harbour" not in out.read_text() + shown


def test_eval_takes_the_thresholds_of_a_policy(run, towns, tmp_path):
    """With `--policy` the operating point is the policy's, not the guard's own."""
    (tmp_path / "p.yaml").write_text("{name: p, version: 1, guards: [default], input: {harm: {threshold: 0.01}}}")
    shown = run("eval", "--set", f"towns={towns}", "--policy", tmp_path / "p.yaml", "--draws", 10).stdout
    assert "thresholds of policy p" in shown
    assert "threshold 0.01" in shown


def test_wrong_sets_and_guards_are_named(run, towns, tmp_path):
    """Whatever is wrong, one line says what, before a model is loaded."""
    for words, said in (
        (("eval", "--set", "towns"), "NAME=FILE"),
        (("eval", "--set", f"a={towns}", "--set", f"a={towns}"), "each name once"),
        (("eval", "--set", f"a={tmp_path}/none.jsonl"), "cannot be read"),
        (("eval", "--set", f"a={towns}", "--guard", "nobody"), "nobody"),
        (("eval", "--set", f"a={towns}", "--policy", tmp_path / "none.yaml"), "cannot be read"),
        (("bias", "--set", f"a={towns}", "--category", "harm"), "10 rows"),
        (("bias", "--set", f"a={towns}", "--category", "none"), "no line"),
        (("robust", "--set", f"a={towns}", "--category", "none"), "no line"),
    ):
        assert said in run(*words, code=2).stderr


def test_robust_says_it_otherwise(run, towns, tmp_path):
    """`guards robust` prints every rewording that found something to change, and writes the figures."""
    figures = tmp_path / "robust.json"
    shown = run("robust", "--set", f"towns={towns}", "--draws", 20, "--json", figures).stdout
    assert "worst of all" in shown
    kinds = json.loads(figures.read_text())["sets"]["towns"]["kinds"]
    assert {kind: kinds[kind]["rows"] for kind in ("synonyms", "polite")} == {"synonyms": 20, "polite": 40}
    assert "contracted" not in kinds


def test_a_missing_extra_is_named(run, towns, monkeypatch):
    """Where scikit-learn or matplotlib is not installed the verb says what to install."""
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert "sluicegate[evaluation]" in run("eval", "--set", f"a={towns}", code=2).stderr


@pytest.fixture(scope="module")
def guard():
    return load(threads=os.cpu_count() or 1, batch_tokens=8192)


def some(name, count):
    if not (DATA / name).is_file():
        pytest.skip(f"no {name} in SLUICEGATE_DATA")
    lines = read(DATA / name)
    return lines if PROVE else Random(1).sample(lines, count)


@pytest.mark.data
def test_the_shipped_guard_on_hatecheck(guard):
    """Over the functionalities of HateCheck the guard is right for .65 in the plain mean, and for .25 in the worst."""
    task = tasks(some("hatecheck.jsonl.gz", 1500), guard)[0]["hate"]
    found = by(task, judged(guard, "hate", task.passages), 0.5, "functionality")
    assert len(found["values"]) == 29
    assert found["macro_average"] >= 0.65
    assert found["worst"]["right"] >= 0.25


@pytest.mark.data
def test_the_shipped_guard_on_identity_terms(guard):
    """No identity term has a subgroup AUC of less than .9 of the overall one."""
    found = audited(guard, some("identity_templates.jsonl.gz", 4000), "toxicity", draws=10)
    assert len(found["subgroups"]) >= 40
    assert found["worst"]["subgroup"]["share_of_overall"] >= 0.9
