"""A guard in shadow: it judges what has ended, beside everything else, and is never waited for.

Whole texts once an exchange is over, on a thread of low priority; what it has no time for is dropped and counted.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import structlog

from guards.guard import Guard
from guards.policy import Policy
from guards.verdict import Judgement, Passage, Scores, Stage, Verdict
from service.gate.decisions import decide
from service.gate.events import plain
from service.gate.exchange import Exchange, Json, Ledger
from service.gate.generation import KINDS, Choice
from service.telemetry.metrics import Metrics

WAITING: Final = 64  # exchanges
WAITING_CHARS: Final = 2_000_000  # of their texts together
NICE: Final = 19
STAGES: Final[tuple[Stage, ...]] = ("input", "output")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """An exchange that is over: its texts, and what the guard in force made of them."""

    exchange_id: str
    passages: tuple[Passage, ...]
    known: Json  # version, digest, highest scores by stage
    policy: Policy

    @property
    def chars(self) -> int:
        return sum(len(p.text) for p in self.passages)


def ended(exchange: Exchange, choices: Sequence[Choice], guard: str) -> Ended | None:
    """What is to be judged beside `guard`; None where that judged nothing, a refusal for lack of room say."""
    known = exchange.scores.get(guard)
    if known is None or not (known["input"] or known["output"]):
        return None
    answers = [
        Passage(c.hold.text, KINDS[c.channel], exchange.asked.prompt_of(choice.index))
        for choice in choices
        for c in choice.holds.values()
    ]
    return Ended(exchange.id, (*exchange.asked.passages, *answers), known, exchange.policy)


class Shadow:
    """One guard in shadow. `load` is called on its own thread; raises GuardError there, from `start`."""

    def __init__(self, load: Callable[[], Guard], ledger: Ledger, metrics: Metrics, waiting: int = WAITING) -> None:
        self._load, self._ledger, self._metrics, self._most = load, ledger, metrics, waiting
        self._waiting: list[Ended] = []
        self._chars = 0
        self._filled = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "shadow", initializer=_low)
        self._task: asyncio.Task[None] | None = None
        self.guard: Guard

    async def start(self) -> None:
        try:
            self.guard = await asyncio.get_running_loop().run_in_executor(self._thread, self._load)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown(wait=False, cancel_futures=True)

    def offer(self, exchange: Exchange, choices: Sequence[Choice]) -> None:
        """Never waits."""
        found = ended(exchange, choices, self.guard.name)
        if found is None:
            return
        if len(self._waiting) >= self._most or self._chars + found.chars > WAITING_CHARS:
            self._count("dropped")
            return
        self._waiting.append(found)
        self._chars += found.chars
        self._filled.set()

    async def _work(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                found = self._waiting.pop(0)
                self._chars -= found.chars
                await self._judge(found)

    async def _judge(self, found: Ended) -> None:
        try:
            scores = await asyncio.get_running_loop().run_in_executor(self._thread, self._scores, found.passages)
            event = noted(found, self.guard, scores, time.time())
            self._ledger.append(event)
        except Exception as error:  # a guard may raise anything; nothing waits for this one
            log.warning("shadow_failed", guard=self.guard.name, digest=self.guard.digest, error=type(error).__name__)
            self._count("failed")
            return
        self._count("judged")

    def _scores(self, passages: Sequence[Passage]) -> list[Scores]:
        return [self.guard.judge([passage])[0] for passage in passages]  # one by one: others get in between

    def _count(self, outcome: str) -> None:
        self._metrics.guard_beside.labels(self.guard.name, self.guard.version, outcome).inc()


def noted(found: Ended, guard: Guard, scores: Sequence[Scores], at: float) -> Json:
    """The event for the ledger: scores of both, and the verdicts that there would have been. Pure."""
    verdicts: dict[tuple[str, ...], Verdict] = {}
    for passage, scored in zip(found.passages, scores, strict=True):
        judgement = Judgement(guard.name, guard.version, guard.digest, guard.covers(passage.stage), scored)
        for v in decide(passage, [judgement], found.policy).verdicts:
            key = v.stage, v.category
            if v.guard == guard.name and (v.score or 0) > (verdicts[key].score or 0 if key in verdicts else 0):
                verdicts[key] = replace(v, mode="shadow", spans=())
    return {
        "event": "beside",
        "id": f"{found.exchange_id}:beside:{guard.digest[:12]}",
        "exchange_id": found.exchange_id,
        "at": at,
        "guard": guard.name,
        "version": guard.version,
        "digest": guard.digest,
        "enforced": found.known["digest"],
        "scores": {stage: _both(stage, found, _highest(stage, found.passages, scores)) for stage in STAGES},
        "choice": None,
        "channel": None,
        "blocked": False,
        "released_chars": 0,
        "verdicts": [plain(v) for v in verdicts.values()],
    }


def _highest(stage: Stage, passages: Sequence[Passage], scores: Sequence[Scores]) -> Mapping[str, float]:
    highest: dict[str, float] = {}
    for passage, scored in zip(passages, scores, strict=True):
        for category, score in scored.by_category.items() if passage.stage == stage else ():
            highest[category] = max(score, highest.get(category, 0.0))
    return highest


def _both(stage: Stage, found: Ended, shadow: Mapping[str, float]) -> Json:
    """[in force, in shadow, threshold] of each category that has a rule and that one of the two scored."""
    enforced = found.known[stage]
    ruled = ((c, r) for c, r in found.policy.rules(stage).items() if r.action != "allow")
    return {
        category: [enforced.get(category), shadow.get(category), rule.threshold]
        for category, rule in ruled
        if category in enforced or category in shadow
    }


def _low() -> None:
    """Of this thread, and of those that an inference runtime starts from it."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
