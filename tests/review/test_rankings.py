import time

import pytest
import sqlalchemy as sa

from service.ledger.desk import CandidateRow
from service.ledger.erasure import erase
from service.review import outbox
from service.review.decisions import UNDO_S
from service.review.rankings import (
    Drawn,
    Ranking,
    Task,
    ask,
    next_task,
    pairs,
    preferences,
    preferred,
    rank,
    ranking_of,
    take_back,
    to_rank,
)
from service.review.reviewer import ReviewError, Unknown
from tests.review.conftest import ADA, BOB
from tests.store.events import clean

TASK = Task("t", "q", {"a": "A", "b": "B", "c": "C"})


@pytest.fixture
async def task(fill, store):
    """Three answers up for ranking, and the exchanges that they came from."""
    ids = await fill(3, clean)
    drawn = [Drawn(id_, "small", f"answer {n}") for n, id_ in enumerate(ids)]
    await ask(store, "Which one? ada@example.org", drawn, "lea")
    return await next_task(store, ADA), ids


def told(found):
    return {(p["chosen"][0]["content"], p["rejected"][0]["content"], p["agreement"]) for p in found}


def test_places_become_pairs_and_ties_do_not():
    """Higher against lower, nothing between equals; an edited answer beats every candidate; all bad prefers none."""
    assert told(preferences(TASK, [Ranking({"a": 1, "b": 2, "c": 2})])) == {("A", "B", 1.0), ("A", "C", 1.0)}
    assert preferences(TASK, [Ranking({"a": 1, "b": 1, "c": 1})]) == []
    assert preferences(TASK, [Ranking({"a": 1, "b": 2, "c": 3}, all_bad=True)]) == []
    edited = preferences(TASK, [Ranking({"a": 1, "b": 1, "c": 1}, all_bad=True, preferred="D")])
    assert told(edited) == {("D", "A", 1.0), ("D", "B", 1.0), ("D", "C", 1.0)}


def test_the_majority_of_reviewers_counts():
    """Two against one is a preference with its share of agreement; one against one is none."""
    up, down = Ranking({"a": 1, "b": 2, "c": 2}), Ranking({"a": 2, "b": 1, "c": 2})
    found = told(preferences(TASK, [up, up, down]))
    assert ("A", "B", 2 / 3) in found
    assert not {(a, b) for a, b, _ in preferences_between(up, down)} & {("A", "B"), ("B", "A")}


def preferences_between(*said):
    return told(preferences(TASK, said))


async def test_candidates_are_anonymous_in_a_stored_order(task, store):
    """The same order for everybody, no model and no exchange told, personal data taken out; it was shuffled once."""
    mine, _ = task
    theirs = await next_task(store, BOB)
    assert list(mine.answers.items()) == list(theirs.answers.items())
    assert set(mine.answers.values()) == {"answer 0", "answer 1", "answer 2"}
    assert mine.prompt == "Which one? [email]"


async def test_a_ranking_is_exported_as_pairs(task, store):
    """Each reviewer ranks a task once; pairs are in TRL's form, with the exchange they are erased with."""
    mine, ids = task
    best, middle, worst = mine.answers
    said = Ranking({best: 1, middle: 2, worst: 3}, {best: {"accuracy": 5, "safety": 4}}, preferred="better")
    await rank(store, mine.id, ADA, said)
    assert await next_task(store, ADA) is None
    with pytest.raises(ReviewError, match="already"):
        await rank(store, mine.id, ADA, said)
    found = [pair async for pair in pairs(store)]
    assert len(found) == 6
    assert found[0]["prompt"] == [{"role": "user", "content": "Which one? [email]"}]
    assert found[0]["chosen"] == [{"role": "assistant", "content": mine.answers[best]}]
    assert {pair["group"] for pair in found} <= set(ids)
    (own,) = [row async for row in preferred(store)]
    assert [m["content"] for m in own["messages"]] == ["Which one? [email]", "better"]
    assert sorted(own["exchanges"]) == sorted(ids)
    await erase(store, ids[0])
    assert [row for feed in (pairs, preferred) async for row in feed(store)] == []
    assert await next_task(store, BOB) is None
    assert await to_rank(store, BOB) == 0


async def test_a_ranking_is_taken_back_within_seconds(task, store):
    """Taken back it counts for nothing, says what it said, has no effect outside, and its task can be ranked again."""
    mine, _ = task
    best, middle, worst = mine.answers
    said = Ranking({best: 1, middle: 2, worst: 3}, {best: {"safety": 4}}, preferred="better")
    first = await rank(store, mine.id, ADA, said)
    with pytest.raises(ReviewError, match="no such ranking of yours"):
        await take_back(store, first, BOB)
    with pytest.raises(ReviewError, match="too late"):
        await take_back(store, first, ADA, now=time.time() + UNDO_S + 1)
    assert len([pair async for pair in pairs(store)]) == 6
    await take_back(store, first, ADA)
    with pytest.raises(ReviewError, match="no such ranking of yours"):
        await take_back(store, first, ADA)
    assert [row for feed in (pairs, preferred) async for row in feed(store)] == []
    assert (await next_task(store, ADA)).id == mine.id
    row, again = await ranking_of(store, first, ADA)
    assert (row.withdrawn, again) == (True, said)
    assert await ranking_of(store, first, BOB) is None
    second = await rank(store, mine.id, ADA, Ranking({best: 2, middle: 1, worst: 2}))
    assert len([pair async for pair in pairs(store)]) == 2
    assert [one.id for one in await outbox.due(store, "ranked", now=time.time() + 2 * UNDO_S)] == [second]


async def test_a_task_can_be_left_to_others(task, fill, store):
    """After a task that is left alone comes the next one; left alone too, there is none until one begins again."""
    first, _ = task
    drawn = [Drawn(id_, "small", f"other {n}") for n, id_ in enumerate(await fill(2, clean))]
    second = await ask(store, "And here?", drawn, "lea")
    assert await to_rank(store, ADA) == 2
    assert (await next_task(store, ADA, first.id)).id == second
    assert await next_task(store, ADA, second) is None
    assert (await next_task(store, ADA)).id == first.id


async def test_what_was_flagged_is_no_candidate(fill, store):
    """Answers of flagged exchanges, too few, too many or equal ones are refused, and nothing is kept."""
    (bad,), (good, other) = await fill(), await fill(2, clean)
    for drawn in (
        [Drawn(bad, "m", "x"), Drawn(good, "m", "y")],
        [Drawn(good, "m", "x")],
        [Drawn(good, "m", "x"), Drawn(other, "m", "x")],
    ):
        with pytest.raises(ReviewError):
            await ask(store, "q", drawn, "lea")
    async with store.read() as session:
        assert await session.scalar(sa.select(sa.func.count()).select_from(CandidateRow)) == 0
    assert await next_task(store, ADA) is None


async def test_a_ranking_that_leaves_something_out_is_refused(task, store):
    """Every candidate needs a place within bounds; scores are of known qualities, 1 to 5; unknown tasks are told."""
    mine, _ = task
    one, two, three = mine.answers
    places = {one: 1, two: 2, three: 3}
    for wrong in (
        Ranking({one: 1, two: 2}),
        Ranking(places | {three: 4}),
        Ranking(places, {one: {"beauty": 3}}),
        Ranking(places, {one: {"safety": 6}}),
    ):
        with pytest.raises(ReviewError):
            await rank(store, mine.id, ADA, wrong)
    with pytest.raises(Unknown):
        await rank(store, "task_none", ADA, Ranking(places))
