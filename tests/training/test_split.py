"""No text, no template and no conversation on both sides of a split."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.rows import Row
from training.split import dedupe, family, fingerprint, split

SHARES = {"train": 0.7, "validation": 0.3}
texts = st.text(string.ascii_letters + " .,!?é0123456789", min_size=1, max_size=40)


def row(text: str, group: str = "", **fields: object) -> Row:
    return Row(text, {"harm": 0}, "s", "MIT", group=group, **fields)


@given(st.lists(st.tuples(texts, st.sampled_from(["", "g1", "g2", "g3"])), max_size=60), st.integers(0, 5))
def test_no_family_is_on_both_sides(items, seed):
    """Rows of one group or of one text, whatever else differs, fall into the same part; none is lost."""
    rows = [row(text, group) for text, group in items]
    parts = split(rows, SHARES, seed)
    assert not {family(r) for r in parts["train"]} & {family(r) for r in parts["validation"]}
    assert sum(map(len, parts.values())) == len(rows)


@given(st.lists(texts, max_size=40))
def test_a_split_does_not_depend_on_what_else_there_is(items):
    """A row stays on its side when other rows come or go, so old test rows never slip into training."""
    rows = [row(t) for t in items]
    together = split(rows, SHARES, 1)
    for part, members in together.items():
        for member in members:
            assert split([member], SHARES, 1)[part] == [member]


def test_a_prompt_and_its_answers_stay_together():
    """A prompt and every answer to it are one family."""
    asked = row("How are you?")
    assert family(asked) == family(row("Fine.", prompt="How are you?", is_response=True))


@pytest.mark.parametrize("other", ["how ARE you", "How are   you?!", "Ｈow are you"])
def test_trivial_differences_are_duplicates(other):
    """Case, punctuation, spacing and width do not make another text."""
    assert dedupe([row("How are you?"), row(other)]) == [row("How are you?")]


def test_numbers_do_not_make_another_text():
    """Two texts that differ only in their numbers are the same template."""
    assert fingerprint("order 123 of 4 May") == fingerprint("order 99 of 7 May")


def test_shares_must_add_up():
    """Shares that do not add up to one are an error, not a silent loss of rows."""
    with pytest.raises(ValueError, match="add up"):
        split([row("a")], {"train": 0.5, "validation": 0.4}, 0)
