"""The lanes: batches without a timer, failures kept apart, long passages in parts."""

import asyncio
import threading
from contextlib import asynccontextmanager

from guards.policy import Policy
from guards.verdict import Passage, Span
from service.judges import OVERLAP_CHARS, BatchedJudges
from service.telemetry.metrics import Metrics
from tests.fakes import BrokenGuard, WordGuard

PART_CHARS = WordGuard.most_chars
POLICY = Policy.model_validate({"name": "t", "version": 1, "guards": ["words"], "input": {"harm": {}}})


class Gated(WordGuard):
    """Waits inside its first batch until opened; counts its batches."""

    def __init__(self, words):
        super().__init__(words)
        self.opened, self.entered = threading.Event(), threading.Event()
        self.batches = []

    def judge(self, passages):
        self.batches.append([p.text for p in passages])
        self.entered.set()
        self.opened.wait(5)
        return super().judge(passages)


@asynccontextmanager
async def judges(guard, **options):
    async with BatchedJudges([guard], Metrics(), **options) as lanes:
        yield lanes


async def test_while_one_batch_runs_the_next_fills_shortest_first():
    """Passages that arrive during a batch form the next one together, sorted by length."""
    guard = Gated({"harm": "BOMB"})
    async with judges(guard) as lanes:
        first = asyncio.create_task(lanes.judge([Passage("first")], POLICY, "acme"))
        await asyncio.to_thread(guard.entered.wait)
        rest = [asyncio.create_task(lanes.judge([Passage("x" * n)], POLICY, "acme")) for n in (30, 10, 20)]
        await asyncio.sleep(0.01)
        guard.opened.set()
        await asyncio.gather(first, *rest)
    assert guard.batches == [["first"], ["x" * 10, "x" * 20, "x" * 30]]


async def test_a_batch_has_a_budget():
    """Passages beyond the budget of one batch wait for the next."""
    guard = Gated({"harm": "BOMB"})
    async with judges(guard, batch_chars=50) as lanes:
        first = asyncio.create_task(lanes.judge([Passage("first")], POLICY, "acme"))
        await asyncio.to_thread(guard.entered.wait)
        rest = asyncio.create_task(lanes.judge([Passage(c * 20) for c in "abc"], POLICY, "acme"))
        await asyncio.sleep(0.01)
        guard.opened.set()
        await asyncio.gather(first, rest)
    assert [len(b) for b in guard.batches] == [1, 2, 1]


async def test_cancelled_passages_are_dropped():
    """What a client that left was waiting for is never judged."""
    guard = Gated({"harm": "BOMB"})
    async with judges(guard) as lanes:
        first = asyncio.create_task(lanes.judge([Passage("first")], POLICY, "acme"))
        await asyncio.to_thread(guard.entered.wait)
        gone = asyncio.create_task(lanes.judge([Passage("gone")], POLICY, "acme"))
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.sleep(0.01)
        guard.opened.set()
        await first
        await lanes.judge([Passage("last")], POLICY, "acme")
    assert guard.batches == [["first"], ["last"]]


async def test_one_bad_passage_fails_alone():
    """When a batch fails its passages are judged one by one, and only the bad one has an error."""
    async with judges(BrokenGuard({"harm": "BOMB"}, trigger="poison")) as lanes:
        rows = await lanes.judge([Passage("fine"), Passage("poison"), Passage("BOMB")], POLICY, "acme")
    assert [row[0].error for row in rows] == [None, "broken on purpose", None]
    assert rows[2][0].scores.by_category["harm"] == 1


async def test_an_answer_of_the_wrong_length_is_an_error():
    """A guard that answers fewer passages than it was asked has judged none."""

    class Short(WordGuard):
        def judge(self, passages):
            return []

    async with judges(Short({"harm": "BOMB"})) as lanes:
        rows = await lanes.judge([Passage("fine")], POLICY, "acme")
    assert "0 answers for 1" in rows[0][0].error


async def test_long_passages_are_judged_in_parts_everywhere():
    """Wherever the word is in a long text, also across a part's border, it is found at its place."""
    border = PART_CHARS - OVERLAP_CHARS
    length = 3 * PART_CHARS
    async with judges(WordGuard({"harm": "BOMB"})) as lanes:
        for at in (0, border - 2, PART_CHARS - 2, PART_CHARS, 2 * border - 1, length - 4):
            text = "x" * at + "BOMB" + "x" * (length - at - 4)
            judgement = (await lanes.judge([Passage(text)], POLICY, "acme"))[0][0]
            assert judgement.scores.by_category["harm"] == 1, at
            assert judgement.scores.spans == (Span(at, at + 4, "harm"),), at


async def test_a_guard_that_takes_any_length_gets_the_whole_text():
    """What only a whole text shows, a private key's head and body, is not cut in two."""
    guard = WordGuard({"harm": "BOMB"})
    guard.most_chars = None
    async with judges(guard) as lanes:
        await lanes.judge([Passage("x" * 50_000)], POLICY, "acme")
    assert [len(p.text) for p in guard.judged] == [50_000]


async def test_earlier_turns_are_not_judged_twice_and_answers_always_are():
    """The same input passage is scored once; the same answer each time."""
    guard = WordGuard({"harm": "BOMB"})
    async with judges(guard) as lanes:
        for _ in range(3):
            await lanes.judge([Passage("turn one"), Passage("an answer", "response")], POLICY, "acme")
    assert [p.text for p in guard.judged].count("turn one") == 1
    assert [p.text for p in guard.judged].count("an answer") == 3


async def test_scores_of_other_weights_are_not_taken():
    """A guard whose digest has changed judges again what the earlier one had judged."""
    guard = WordGuard({"harm": "BOMB"})
    async with judges(guard) as lanes:
        for digest in ("a", "b", "b"):
            guard.digest = digest
            await lanes.judge([Passage("turn one")], POLICY, "acme")
    assert len(guard.judged) == 2


async def test_a_failure_is_not_remembered():
    """An error is not cached: the next request asks the guard again."""
    guard = BrokenGuard({"harm": "BOMB"})
    async with judges(guard) as lanes:
        assert (await lanes.judge([Passage("x")], POLICY, "acme"))[0][0].error
        guard.trigger = "never"
        assert not (await lanes.judge([Passage("x")], POLICY, "acme"))[0][0].error
