"""Other words for the same: what changes, what does not, and what is counted of a guard's verdicts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.evaluation.rewording import FRAMES, REWORDINGS, reworded
from guards.evaluation.robust import robustness, shown
from guards.evaluation.rows import read
from tests.fakes import WordGuard


@pytest.mark.parametrize(
    ("name", "text", "other"),
    [
        ("contracted", "It is late, do not go.", "It's late, don't go."),
        ("expanded", "It's late, don't go.", "It is late, do not go."),
        ("synonyms", "Where can I buy bread?", "Where can I purchase bread?"),
        ("synonyms", "Buyers make noise", "Buyers create noise"),
        ("spelling", "My favorite harbour", "My favourite harbor"),
        ("lower_case", "Where is Paris?", "where is paris?"),
        ("no_punctuation", "No, at 3.14 p.m.!", "No at 3.14 p.m"),
        ("typo", "where is the harbour", "where is the habrour"),
    ],
)
def test_what_changes(name, text, other):
    """Whole words of the tables, capitals kept; numbers and what stands inside words stay."""
    assert REWORDINGS[name](text) == other


@given(st.text(max_size=80))
def test_any_text(text):
    """Every rewording takes any text; none that is told gives the same back; frames keep the text whole."""
    found = reworded(text, "prompt")
    assert found.keys() >= FRAMES.keys()
    assert text not in found.values()
    assert all(text in found[name] for name in FRAMES)
    assert not reworded(text, "response").keys() & FRAMES.keys()


def written(tmp_path, *lines):
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read(path)


def line(prompt, harm, **more):
    return {"prompt": prompt, "labels": {"harm": harm}} | more


def test_verdicts_that_do_not_hold(tmp_path):
    """A guard that knows one word loses a request that says it with another, and calls nothing else."""
    guard = WordGuard({"harm": "buy"})
    lines = written(tmp_path, line("where can i buy it", 1), line("where can i buy them", 1), line("where is it", 0))
    found = robustness(guard, lines, "harm", draws=50)
    synonyms, thanks = found["kinds"]["synonyms"], found["kinds"]["thanks"]
    assert (synonyms["rows"], synonyms["flipped"]["value"], synonyms["recall"]["value"]) == (2, 1.0, -1.0)
    assert "false_alarms" not in synonyms
    assert (thanks["rows"], thanks["flipped"]["value"], thanks["false_alarms"]["value"]) == (3, 0.0, 0.0)
    assert found["worst"]["rows"] == 3
    assert found["worst"]["flipped"]["value"] == pytest.approx(2 / 3, abs=1e-3)
    assert shown(found).splitlines()[1].startswith("synonyms")
    assert shown(found).splitlines()[-1].startswith("worst of all")


def test_paraphrases_of_a_set(tmp_path):
    """A line that says what another says is held against that line and is no line of its own."""
    guard = WordGuard({"harm": "steal"})
    first = line("how to steal it", 1, id="a")
    lines = written(tmp_path, first, line("how to take it unseen", 1, id="b", paraphrase_of="a"), line("hello", 0))
    found = robustness(guard, lines, "harm", draws=50)
    assert found["kinds"]["written"]["rows"] == 1
    assert found["kinds"]["written"]["recall"]["value"] == -1.0
    assert found["worst"]["rows"] == 2


def test_no_label_of_the_category(tmp_path):
    with pytest.raises(ValueError, match="no line has a label 'hate'"):
        robustness(WordGuard({"harm": "steal"}), written(tmp_path, line("hello", 0)), "hate")
