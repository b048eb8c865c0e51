"""`sluicegate guards bench`: the figures of a guard and of a cascade, from real guards and a labelled file."""

import json

import pytest
from typer.testing import CliRunner

from guards.cascade import Cascade, CascadeSpec
from guards.evaluation.rows import Line
from guards.evaluation.speed import cascade, speed
from guards.lists import RegexGuard, RegexSpec
from guards.patterns import PatternGuard
from service.cli.main import app
from tests.fakes import BrokenGuard

LINES = [
    Line("a bomb", "", {"harm": 1}, {}),
    Line("maybe a bath bath", "", {"harm": 0}, {}),
    Line("maybe really bad", "", {"harm": 1}, {}),
    Line("quite hidden", "", {"harm": 1}, {}),
    Line("hello", "", {"harm": 0}, {}),
]
FILE = """
guards:
  cheap: {kind: regex, patterns: [
    {category: harm, pattern: bomb, score: 0.9}, {category: harm, pattern: maybe, score: 0.6}]}
  dear: {kind: regex, patterns: [{category: harm, pattern: really|hidden, score: 0.9}]}
  both: {kind: cascade, first: cheap, then: dear}
"""


def both(then=None, **spec) -> Cascade:
    rules = [{"category": "harm", "pattern": p, "score": s} for p, s in (("bomb", 0.9), ("maybe", 0.6))]
    second = RegexSpec(patterns=[{"category": "harm", "pattern": "really|hidden", "score": 0.9}])
    then = then or RegexGuard("dear", second)
    return Cascade(
        "both", CascadeSpec(first="cheap", then="dear", **spec), RegexGuard("cheap", RegexSpec(patterns=rules)), then
    )


def test_each_length_is_measured():
    """A row a length: a longer text takes longer, and every text counts."""
    rows = speed(PatternGuard(), lengths=(50, 5000), budget_s=0.05)
    assert [r["tokens"] for r in rows] == [50, 5000]
    assert rows[0]["p50_ms"] < rows[1]["p50_ms"]
    assert all(r["texts"] >= 3 and r["p50_ms"] <= r["p99_ms"] and r["batch_per_s"] > 0 for r in rows)


def test_a_cascade_is_measured_before_and_after():
    """Escalated texts are counted, and recall and false positives are those of the first alone and of both."""
    found = cascade(both(), LINES)
    harm = found["categories"]["harm"]
    assert (found["texts"], found["escalated"], found["escalated_share"]) == (5, {"unsure": 2}, 0.4)
    assert harm["first"]["recall"]["value"] == pytest.approx(2 / 3)
    assert harm["first"]["false_positives"]["value"] == 0.5
    assert harm["both"]["recall"]["value"] == pytest.approx(2 / 3)
    assert harm["both"]["false_positives"]["value"] == 0


def test_of_a_sample_the_second_decides():
    """With everything sampled the second overrules what the first was sure of, misses and findings alike."""
    found = cascade(both(sample=1.0), LINES)
    assert found["escalated"] == {"unsure": 2, "sample": 3}
    assert found["categories"]["harm"]["both"]["recall"]["value"] == pytest.approx(2 / 3)


def test_a_second_that_fails_is_counted():
    """Where the second failed the first counts, and the figures say how often."""
    found = cascade(both(BrokenGuard({"harm": "x"}, name="dear")), LINES)
    assert found["escalated"] == {"unsure": 2, "failed": 2}
    assert found["categories"]["harm"]["first"] == found["categories"]["harm"]["both"]


def test_the_verb_prints_a_table_or_json(tmp_path):
    """`guards bench` shows speed of every guard, and of a cascade what it costs and brings."""
    (tmp_path / "guards.yaml").write_text(FILE)
    rows = [{"prompt": line.prompt, "labels": dict(line.labels)} for line in LINES]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    command = ["guards", "bench", "--guard", "both", "--guard", "patterns", "--file", str(tmp_path / "guards.yaml")]
    command += ["--in", str(tmp_path / "set.jsonl"), "--lengths", "16,64", "--budget-s", "0.01"]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0, shown.output
    assert "40.0% of 5 texts go to the second guard (unsure 2)" in shown.output
    assert "patterns  version" in shown.output
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert found["both"]["cascade"]["escalated_share"] == 0.4
    assert [r["tokens"] for r in found["patterns"]["speed"]] == [16, 64]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--guard", "nonesuch"], "no guard 'nonesuch'"),
        (["--lengths", "64,x"], "numbers of tokens"),
        (["--in", "none.jsonl"], "none.jsonl"),
    ],
)
def test_bad_input_is_one_clear_line(given, said):
    """An unknown guard, a length that is none and a file that is not there end with exit code 1 and a reason."""
    done = CliRunner().invoke(app, ["guards", "bench", "--guard", "patterns", *given])
    assert done.exit_code == 1
    assert said in done.output
