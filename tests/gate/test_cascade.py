"""A cascade in the lanes: the slow second never keeps the quick first waiting, and failing is never a clean verdict."""

import asyncio
import threading
import time
from contextlib import asynccontextmanager

import pytest

from guards.cascade import Cascade, CascadeSpec
from guards.lists import RegexGuard, RegexSpec
from guards.policy import Policy
from guards.verdict import Passage
from service.gate.decisions import decide
from service.judges import BatchedJudges
from service.telemetry.metrics import Metrics
from tests.fakes import BrokenGuard, WordGuard

RULES = [
    {"category": "harm", "pattern": "bomb", "score": 0.95},
    {"category": "harm", "pattern": "maybe", "score": 0.5},
    {"category": "hate", "pattern": "fool", "score": 0.9},
]
WORDS = {"harm": "really", "hate": "truly"}


def policy(on_error="refuse", deadline_s=5.0) -> Policy:
    content = {"name": "t", "version": 1, "guards": ["both"], "input": {"harm": {}, "hate": {}}}
    return Policy.model_validate(content | {"on_error": on_error, "deadline_s": deadline_s})


class Slow(WordGuard):
    """Takes its time until opened."""

    def __init__(self):
        super().__init__(WORDS, "then")
        self.opened = threading.Event()

    def judge(self, passages):
        self.opened.wait(10)
        return super().judge(passages)


@asynccontextmanager
async def cascade(second):
    first = RegexGuard("first", RegexSpec(patterns=RULES))
    both = Cascade("both", CascadeSpec(first="first", then="then"), first, second)
    metrics = Metrics()
    async with BatchedJudges([first, second, both], metrics) as judges:
        yield judges, metrics


def count(metrics, name, **labels):
    return metrics.registry.get_sample_value(f"sluicegate_{name}_total", labels) or 0


async def test_the_second_decides_what_the_first_is_unsure_of():
    """One judgement under the cascade's name, version and digest; the escalation is counted."""
    async with cascade(WordGuard(WORDS, "then")) as (judges, metrics):
        rows = await judges.judge([Passage("maybe"), Passage("maybe really"), Passage("bomb")], policy(), "acme")
    assert [row[0].scores.by_category["harm"] for row in rows] == [0, 1, 0.95]
    assert {(row[0].guard, row[0].version) for row in rows} == {("both", "1+1")}
    assert count(metrics, "guard_escalated", guard="both", why="unsure") == 2


async def test_a_slow_second_keeps_nobody_else_waiting():
    """While the second ponders one text, others that the first is sure of are judged."""
    slow = Slow()
    async with cascade(slow) as (judges, _):
        unsure = asyncio.create_task(judges.judge([Passage("maybe")], policy(), "acme"))
        await asyncio.sleep(0.05)
        started = time.perf_counter()
        for n in range(50):
            row = await judges.judge([Passage(f"sure {n}")], policy(), "acme")
            assert row[0][0].scores.by_category["harm"] == 0
        assert time.perf_counter() - started < 5
        assert not unsure.done()
        slow.opened.set()
        assert (await unsure)[0][0].scores.by_category["harm"] == 0


@pytest.mark.parametrize("how", ["late", "broken"])
async def test_without_the_second_only_what_was_unsure_falls_under_on_error(how):
    """A second that is late or fails leaves the unsure category to `on_error`; a sure finding is enforced still."""
    second = Slow() if how == "late" else BrokenGuard(WORDS, name="then")
    lenient = policy("allow", deadline_s=0.3)
    async with cascade(second) as (judges, metrics):
        passages = [Passage("maybe"), Passage("maybe, you fool")]
        unsure, sure = await judges.judge(passages, lenient, "acme")
        assert decide(passages[0], unsure, lenient).action == "allow"
        strict = policy("refuse")
        refused = decide(passages[0], unsure, strict)
        assert (refused.action, refused.guard_failed) == ("refuse", True)
        found = decide(passages[1], sure, lenient)
        assert (found.action, found.categories, found.guard_failed) == ("refuse", ("hate",), False)
        kind = "deadline" if how == "late" else "failed"
        assert count(metrics, "guard_errors", guard="then", version="1", kind=kind) == 2
        if how == "late":
            second.opened.set()


async def test_a_client_that_left_is_dropped_from_both_lanes():
    """A cancelled request asks the second guard nothing more."""
    slow = Slow()
    async with cascade(slow) as (judges, _):
        blocked = asyncio.create_task(judges.judge([Passage("maybe one")], policy(), "acme"))
        await asyncio.sleep(0.05)
        gone = asyncio.create_task(judges.judge([Passage("maybe gone")], policy(), "acme"))
        await asyncio.sleep(0.05)
        gone.cancel()
        await asyncio.sleep(0.01)
        slow.opened.set()
        await blocked
        await judges.judge([Passage("maybe after")], policy(), "acme")
    assert [p.text for p in slow.judged] == ["maybe one", "maybe after"]


async def test_a_cascade_alone_brings_its_guards():
    """Served by itself, a cascade has lanes for its two guards."""
    first = RegexGuard("first", RegexSpec(patterns=RULES))
    both = Cascade("both", CascadeSpec(first="first", then="then"), first, WordGuard(WORDS, "then"))
    async with BatchedJudges([both], Metrics()) as judges:
        rows = await judges.ask(["both"], [Passage("maybe really")], 5, "acme")
    assert rows[0][0].scores.by_category["harm"] == 1
