"""Trigger texts: one for each category, known exactly, wherever they are, and no stand-in for a guard."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.policy import DEFAULT_POLICY, load, parse, uncovered_cells
from guards.taxonomy import CATEGORIES
from guards.trigger import KNOWN_CHARS, TRIGGERS, TriggerGuard, trigger
from guards.verdict import Passage, Span

DOCUMENT = (Path(__file__).parents[2] / "docs" / "taxonomy.md").read_text(encoding="utf-8")
GUARD = TriggerGuard()


def found(text: str, since: int = 0) -> set[str]:
    (scores,) = GUARD.judge([Passage(text, since=since)])
    assert scores.by_category.keys() == CATEGORIES.keys()
    assert {s.category for s in scores.spans} == {c for c, score in scores.by_category.items() if score}
    return {c for c, score in scores.by_category.items() if score == 1.0}


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_trigger_is_of_its_category_alone(category):
    """The trigger of a category scores 1 there and 0 elsewhere, and its span is exactly the trigger."""
    text = f"Hello {trigger(category)}, hello"
    assert found(text) == {category}
    assert GUARD.judge([Passage(text)])[0].spans == (Span(6, 6 + len(trigger(category)), category),)


def test_triggers_never_change():
    """Integrators write triggers down, so each stays what it is; the documentation lists them all."""
    assert trigger("harm") == "SLUICEGATE-54BFZPO6-HARM"
    rows = re.findall(r"^\| `(SLUICEGATE-\S+)` \| `(\w+)` \|$", DOCUMENT, re.MULTILINE)
    assert rows == [(trigger(c), c) for c in CATEGORIES]


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_trigger_is_known_within_the_lookahead(category):
    """From its nineteenth character on a growing trigger is known, and not before; its span grows with it."""
    whole = trigger(category)
    assert load(DEFAULT_POLICY).lookahead_chars >= KNOWN_CHARS
    for end in range(len(whole) + 1):
        spans = GUARD.judge([Passage(whole[:end])])[0].spans
        assert spans == ((Span(0, end, category),) if end >= KNOWN_CHARS else ())


@given(st.text(max_size=80))
def test_other_text_is_no_trigger(text):
    """Nothing but a trigger is one, any Unicode included."""
    assert found(text) == set()


@pytest.mark.parametrize("text", ["sluicegate-54bfzpo6-harm", "SLUICEGATE-54BFZPO-HARM", "SLUICEGATE-HARM", "EICAR"])
def test_what_comes_near_is_no_trigger(text):
    """Case counts, and every character of the code."""
    assert found(text) == set()


def test_a_stream_hears_of_a_trigger_once():
    """A trigger that ended before `since` is not found again; one that reaches past it is."""
    text = f"a {trigger('harm')} b"
    assert found(text, since=len(text) - 3) == {"harm"}
    assert found(text, since=len(text) - 2) == set()


def test_triggers_cover_nothing():
    """A rule whose category only the trigger guard knows is a fault: it would pass real text unjudged."""
    policy = parse("name: t\nversion: 1\nguards: [triggers]\ninput: {weapons: {}}\n")
    coverage = {TRIGGERS: {"input": GUARD.covers("input"), "output": GUARD.covers("output")}}
    assert uncovered_cells(policy, coverage) == ["input.weapons: no guard of this policy judges it"]


def test_own_categories_have_triggers():
    """A guard made with users' own categories knows their triggers too, and is another guard: its digest differs."""
    own = TriggerGuard({*CATEGORIES, "gambling"})
    assert own.judge([Passage(trigger("gambling"))])[0].by_category["gambling"] == 1.0
    assert own.digest != GUARD.digest


def test_a_megabyte_takes_milliseconds():
    """Time is linear and small, also on a text of broken triggers."""
    started = time.perf_counter()
    assert found("SLUICEGATE-54BFZPO" * 60_000) == set()
    assert time.perf_counter() - started < 2
