"""What enters a dataset, what it weighs, on which side it falls."""

import itertools
import string
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.dataset import rules
from training.dataset.items import Example, Item
from training.dataset.recipe import Caps, Recipe, Split
from training.near import Near, grams
from training.rows import DataError

RECIPE = Recipe(name="t", public=("x",))
SHARES = Split(shares={"train": 0.5, "validation": 0.25, "test": 0.25})
words = st.lists(st.sampled_from(string.ascii_lowercase[:5]), min_size=1, max_size=12).map(" ".join)


def example(text: str, id_: str = "", **fields: object) -> Example:
    """A reviewed prompt; fields of the example or of its item."""
    of_item = {k: fields.pop(k) for k in list(fields) if k in Item.__slots__}
    item = Item(id_ or text, "", "prompt", {}, {"harm": 0}, {}, 1.0, "", "human", "private", "")
    return Example(replace(item, **of_item), fields.pop("texts", {"prompt": text}), **fields)


@pytest.mark.parametrize(
    ("fault", "given_"),
    [
        ("contested", example("a", state="contested")),
        ("contested", example("a", state="open")),
        ("little agreement", example("a", agreement=0.4)),
        ("restricted", example("a", labels={"child_exploitation": 1})),
        ("licence", example("a", license="see-source")),
        ("no label", example("a", labels={})),
        ("no text", example(" ")),
        ("kind", example("a", kind="pair", texts={"prompt": [], "chosen": [], "rejected": []})),
    ],
)
def test_what_does_not_enter(fault, given_):
    """Each reason for leaving a row out holds, is counted by its name, and takes no other row with it."""
    left = Counter()
    assert [e.item.id for e in rules.usable([given_, example("kept", state="decided")], RECIPE, left)] == ["kept"]
    assert left == {fault: 1}


def test_machine_rows_enter_only_where_they_may():
    """Rows made by machine are marked, and stay out where a recipe says so."""
    made = example("a", source="machine", license="MIT")
    assert rules.usable([made], RECIPE, Counter()) == [made]
    assert rules.usable([made], RECIPE.model_copy(update={"machine": False}), Counter()) == []


@given(st.lists(words, max_size=25), words, st.sampled_from([0.5, 0.7, 0.8, 1.0]))
def test_what_is_near_is_found(texts, asked, least):
    """The search by rarest runs finds a near text exactly where comparing with every text does."""
    near = Near(least, texts)
    for text in texts:
        near.add(text)
    own = grams(asked)
    alike = [n for n, t in enumerate(texts) if len(own & grams(t)) / len(own | grams(t)) >= least - 1e-9]
    assert near.near(asked) == (alike[0] if alike else None)


def test_a_leak_is_dropped_by_near_text():
    """A text that shares half its runs of words with one of an evaluation set stays out, in a response too."""
    held = "how do I pick the lock of my front door at home"
    leaks = example("how do I pick the lock of my front door now")
    answer = example("b", texts={"prompt": "p", "response": held.upper()})
    clean = example("how do I bake bread at home")
    left = Counter()
    assert rules.unleaked([leaks, answer, clean], {"held": [held]}, 0.5, left) == [clean]
    assert left == {"leaks from held": 2}


def test_the_surest_of_equal_texts_stays():
    """Of rows that say the same, or nearly, the reviewed one stays, the adjudicated before the merely decided one."""
    text = "one two three four five six seven eight nine ten"
    machine, public = example(text, "m", source="machine"), example(text, "p", source="public")
    decided, settled = example(text.upper(), "d", state="decided"), example(f"{text}!", "s", state="adjudicated")
    near = example(f"{text} eleven", "n", source="public")
    left = Counter()
    assert rules.distinct([machine, public, near, decided, settled], 0.8, left) == [settled]
    assert left == {"duplicate": 3, "near duplicate": 1}


@pytest.mark.parametrize("who", ["caller", "subject", "reviewer"])
def test_nobody_stands_behind_more_than_their_share(who):
    """One caller, end user or reviewer who gives most of the rows keeps no more than the cap, drawn by the seed."""

    def by(name: str) -> dict[str, object]:
        return {"reviewers": (name,)} if who == "reviewer" else {who: name}

    rows = [example(f"flood {n}", **by("mallory")) for n in range(80)]
    rows += [example(f"other {n}", **by(f"user {n}")) for n in range(20)]
    left = Counter()
    caps = Caps(**dict.fromkeys(("caller", "subject", "reviewer"), 1.0) | {who: 0.2})
    kept = rules.capped(rows, caps, 1, left)
    held = sum(e.item.id.startswith("flood") for e in kept)
    assert held == 5
    assert held <= 0.2 * len(kept)
    assert left == {f"cap of a {who}": 75}
    assert kept == rules.capped(rows, caps, 1, Counter())
    assert kept != rules.capped(rows, caps, 2, Counter())


def test_a_cap_that_nobody_can_keep_is_an_error():
    """Where all rows are one caller's, the error says whose share is too large and what to do."""
    with pytest.raises(DataError, match=r"raise caps\.caller"):
        rules.capped([example(f"a {n}", caller="one") for n in range(5)], Caps(caller=0.5), 1, Counter())


def test_a_sampled_row_stands_for_those_not_drawn():
    """A row of the random sample weighs one over its inclusion probability, up to the most; a flagged one does not."""
    sampled = [example("a", why=w, inclusion_probability=p) for w, p in (("sample", 0.2), ("selected", 0.001))]
    flagged = example("a", why="flagged", inclusion_probability=0.5)
    assert [e.item.weight for e in rules.weighted([*sampled, flagged], 10)] == [5, 10, 1]


@given(st.lists(st.tuples(words, st.sampled_from(["", "g1", "g2", "g3"])), max_size=40), st.integers(0, 3))
def test_no_conversation_and_no_prompt_is_on_two_sides(pairs, seed):
    """Rows of one conversation, and rows of one prompt, always share a split."""
    made = rules.parted([example(t, f"{n}", group=g) for n, (t, g) in enumerate(pairs)], SHARES, seed)
    for key in (lambda e: e.item.group or e.item.id, lambda e: rules.fingerprint(e.asked)):
        sides: dict[str, set[str]] = {}
        for one in made:
            sides.setdefault(key(one), set()).add(one.item.split)
        assert all(len(side) == 1 for side in sides.values())


def test_new_rows_never_bring_a_tested_one_into_training():
    """When rows are added that tie families together, what was held back stays held back."""
    rows = [example(f"text number {c}", c, group=c) for c in string.ascii_lowercase]
    before = {e.item.id: e.item.split for e in rules.parted(rows, SHARES, 1)}
    ties = [example(f"text number {a}", a + b, group=b) for a, b in zip("abcdefgh", "klmnopqr", strict=True)]
    after = {e.item.id: e.item.split for e in rules.parted(rows + ties, SHARES, 1)}
    order = ("train", "validation", "test")
    assert all(order.index(after[i]) >= order.index(side) for i, side in before.items())
    assert {before[i] for i in before} == set(order)


@pytest.mark.parametrize("group", [lambda n: "", lambda n: f"conversation {n}", lambda n: f"conversation {n // 2}"])
def test_a_split_has_its_share(group):
    """Half is trained on, as asked, whether rows have a conversation of their own, one with another row, or none."""
    names = itertools.product(string.ascii_lowercase, repeat=3)
    rows = [example(f"text {'-'.join(name)}", f"{n}", group=group(n)) for n, name in enumerate(names)][:2000]
    found = Counter(e.item.split for e in rules.parted(rows, SHARES, 1))
    assert {part: found[part] / len(rows) for part in SHARES.shares} == pytest.approx(SHARES.shares, abs=0.04)


def test_reviewers_can_be_held_back():
    """With a share of reviewers held back, every row of theirs is in `test`, and rows of others are not all."""
    rows = [example(f"text {n} by {r}", reviewers=(r,)) for r in "abcdefgh" for n in range(10)]
    split = Split(shares={"train": 1.0}, reviewers=0.4)
    made = rules.parted(rows, split, 3)
    sides = {r: {e.item.split for e in made if e.item.reviewers == (r,)} for r in "abcdefgh"}
    assert all(len(side) == 1 for side in sides.values())
    assert Counter(next(iter(side)) for side in sides.values()).keys() == {"train", "test"}
