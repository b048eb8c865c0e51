"""Guards off the event loop: one lane a guard, batches without a timer, deadlines, failures as judgements."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from guards.cascade import Cascade, settled
from guards.guard import Guard, GuardError
from guards.language import LANGUAGE, languages_of
from guards.policy import Policy
from guards.transport import Concurrent, Unreachable
from guards.verdict import Judgement, Languages, Passage, Scores, Span, Stage
from service.gate.languages import unread
from service.known import Known
from service.telemetry.metrics import Metrics

OVERLAP_CHARS = 500  # of the parts of a passage that is too long for a guard to take at once


class BatchedJudges:
    """The judges of one process. Use as an async context manager: lanes are tasks."""

    def __init__(
        self, guards: Sequence[Guard], metrics: Metrics, batch_chars: int = 16_000, lanes: Iterable["Lane"] = ()
    ) -> None:
        self._metrics, self._batch_chars = metrics, batch_chars
        self._lanes: dict[str, Lane | _Cascaded] = {}
        known = {id(lane.guard): lane for lane in lanes}
        for guard in guards:
            for one in (guard.first, guard.then) if isinstance(guard, Cascade) else (guard,):
                if one.name not in self._lanes:
                    self._lanes[one.name] = known.get(id(one)) or Lane(one, metrics, batch_chars)
            if isinstance(guard, Cascade):
                self._lanes[guard.name] = _Cascaded(guard, self._lanes, metrics)

    async def __aenter__(self) -> "BatchedJudges":
        for lane in self.lanes:
            lane.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for lane in self.lanes:
            await lane.stop()

    @property
    def lanes(self) -> "list[Lane]":
        return [lane for lane in self._lanes.values() if isinstance(lane, Lane)]

    def guards(self) -> list[Guard]:
        return [lane.guard for lane in self._lanes.values()]

    def replaced(self, guards: Sequence[Guard], lanes: Iterable["Lane"]) -> "BatchedJudges":
        """Those of other guards. A guard that has one of `lanes` keeps it, with what waits there and what it knows."""
        other = BatchedJudges(guards, self._metrics, self._batch_chars, lanes)
        for lane in other.lanes:
            lane.start()
        return other

    def of(self, exchange_id: str, key_id: str) -> "BatchedJudges":
        """Themselves: they judge every exchange to its end."""
        return self

    async def judge(self, passages: Sequence[Passage], policy: Policy, tenant: str) -> list[list[Judgement]]:
        ends_at = time.monotonic() + policy.deadline_s
        named = dict.fromkeys((*policy.guards, *self._lanes.keys() & {LANGUAGE}))
        judged = await self.ask(tuple(named), passages, policy.deadline_s, tenant)
        if policy.uncovered.language == "escalate" and policy.escalate:
            found = [(p, j) for p, j in zip(passages, judged, strict=True) if unread(p, j, policy)]
            left_s = max(ends_at - time.monotonic(), 0)
            more = await self.ask((policy.escalate,), [p for p, _ in found], left_s, tenant)
            for (_, judgements), escalated in zip(found, more, strict=True):
                judgements += escalated
        return judged

    async def ask(
        self, guards: Sequence[str], passages: Sequence[Passage], deadline_s: float, tenant: str
    ) -> list[list[Judgement]]:
        """For each passage the judgements of `guards`, by name, in their order."""
        lanes = [self._lanes[name] for name in guards]
        asked = [[lane.ask(p, tenant) for lane in lanes] for p in passages]
        every = [future for row in asked for future in row]
        try:
            if every:
                await asyncio.wait(every, timeout=deadline_s)
            return [
                [lane.judgement(p.stage, f) for lane, f in zip(lanes, row, strict=True)]
                for p, row in zip(passages, asked, strict=True)
            ]
        finally:
            for future in every:  # dropped by the lane if not begun
                future.cancel()


@dataclass(eq=False, slots=True)
class _Item:
    passage: Passage
    tenant: str
    scores: asyncio.Future[Scores]


class Lane:
    """One guard, one thread for each call it takes at once.

    While a batch runs the next one fills; shortest first, up to a budget of characters.
    """

    def __init__(self, guard: Guard, metrics: Metrics, batch_chars: int) -> None:
        self.guard = guard
        self._metrics = metrics
        self._batch_chars = batch_chars
        self._waiting: list[_Item] = []
        self._filled = asyncio.Event()
        self._calls = guard.calls_at_once if isinstance(guard, Concurrent) else 1
        self._threads = ThreadPoolExecutor(self._calls, thread_name_prefix=f"guard-{guard.name}")
        self._tasks: list[asyncio.Task[None]] = []
        self._known = Known(guard)
        self._languages = languages_of(guard)

    def start(self) -> None:
        self._tasks = self._tasks or [asyncio.create_task(self._work()) for _ in range(self._calls)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for item in self._waiting:
            item.scores.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def ask(self, passage: Passage, tenant: str) -> "asyncio.Future[Scores]":
        most = self.guard.most_chars
        if most is None or len(passage.text) <= most:
            return self._queue(passage, tenant)
        return asyncio.ensure_future(self._in_parts(passage, tenant, most))

    async def _in_parts(self, passage: Passage, tenant: str, most: int) -> Scores:
        """Judges overlapping parts; the worst score of each category counts."""
        step = most - OVERLAP_CHARS
        # characters before `since` were judged: parts that end there are skipped
        starts = [s for s in range(0, len(passage.text) - OVERLAP_CHARS, step) if s + most > passage.since]
        parts = [replace(passage, text=passage.text[s : s + most], since=max(passage.since - s, 0)) for s in starts]
        scores = await asyncio.gather(*(self._queue(p, tenant) for p in parts))
        return _worst(scores, starts)

    def _queue(self, passage: Passage, tenant: str) -> "asyncio.Future[Scores]":
        future: asyncio.Future[Scores] = asyncio.get_running_loop().create_future()
        known = self._known.get(passage, tenant)
        if known is not None:
            future.set_result(known)
            self._metrics.guard_reused.labels(self.guard.name).inc()
        else:
            self._waiting.append(_Item(passage, tenant, future))
            self._metrics.guard_queue(self.guard.name, len(self._waiting))
            self._filled.set()
        return future

    def judgement(self, stage: Stage, future: "asyncio.Future[Scores]") -> Judgement:
        return _judgement(self.guard, self._languages, stage, future, self._metrics)

    async def _work(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while batch := self._batch():
                await self._judge(batch)

    def _batch(self) -> list[_Item]:
        waiting = sorted((i for i in self._waiting if not i.scores.done()), key=lambda i: len(i.passage.text))
        chars, taken = 0, 0
        for item in waiting:
            chars += len(item.passage.text) + len(item.passage.prompt[-512:])
            if taken and chars > self._batch_chars:
                break
            taken += 1
        self._waiting = waiting[taken:]
        return waiting[:taken]

    async def _judge(self, batch: Sequence[_Item]) -> None:
        """Judges a batch; when it fails, each alone, so that one bad passage fails only its own exchange.

        Not so when the guard itself cannot be reached.
        """
        started = time.perf_counter()
        try:
            scores = await asyncio.get_running_loop().run_in_executor(
                self._threads, self.guard.judge, [i.passage for i in batch]
            )
            if len(scores) != len(batch):
                raise GuardError(f"{len(scores)} answers for {len(batch)} passages")
        except Exception as error:  # a guard may raise anything; none of it is a clean verdict
            left = [item for item in batch if not item.scores.done()]
            if len(batch) > 1 and not isinstance(error, Unreachable):
                for item in left:
                    await self._judge([item])
                return
            for item in left:
                item.scores.set_exception(error)
            return
        self._metrics.guard_batch(self.guard.name, self.guard.version, len(batch), time.perf_counter() - started)
        self._metrics.guard_queue(self.guard.name, len(self._waiting))
        for item, score in zip(batch, scores, strict=True):
            self._known.put(item.passage, item.tenant, score)
            if not item.scores.done():
                item.scores.set_result(score)


class _Cascaded:
    """A cascade in the lanes of its two guards, so that the slow one never keeps the quick one waiting."""

    def __init__(self, guard: Cascade, lanes: Mapping[str, "Lane | _Cascaded"], metrics: Metrics) -> None:
        self.guard, self._metrics, self._languages = guard, metrics, languages_of(guard)
        self._first, self._then = lanes[guard.first.name], lanes[guard.then.name]
        self._without_second: WeakKeyDictionary[asyncio.Future[Scores], Scores] = WeakKeyDictionary()

    def ask(self, passage: Passage, tenant: str) -> "asyncio.Future[Scores]":
        return asyncio.ensure_future(self._ask(passage, tenant))

    async def _ask(self, passage: Passage, tenant: str) -> Scores:
        scores = await self._first.ask(passage, tenant)
        escalation = self.guard.escalation(passage, scores)
        if escalation is None:
            return scores
        self._metrics.guard_escalated.labels(self.guard.name, escalation.why).inc()
        if asking := asyncio.current_task():
            self._without_second[asking] = settled(scores, None, escalation)
        try:
            return settled(scores, await self._then.ask(passage, tenant), escalation)
        except Exception as error:  # a guard may raise anything; what the first was sure of stands
            self._failed(_why(error))
            return settled(scores, None, escalation)

    def judgement(self, stage: Stage, future: "asyncio.Future[Scores]") -> Judgement:
        if not future.done() and (scores := self._without_second.get(future)):
            self._failed("deadline")
            known: asyncio.Future[Scores] = asyncio.get_running_loop().create_future()
            known.set_result(scores)
            future = known
        return _judgement(self.guard, self._languages, stage, future, self._metrics)

    def _failed(self, error: str) -> None:
        self._metrics.guard_error(self.guard.then.name, self.guard.then.version, error)


def _judgement(
    guard: Guard, languages: Languages | None, stage: Stage, future: "asyncio.Future[Scores]", metrics: Metrics
) -> Judgement:
    scores, error = None, None
    if not future.done():
        error = "deadline"
    elif future.cancelled():
        error = "stopped"
    elif (raised := future.exception()) is not None:
        error = _why(raised)
    else:
        scores = future.result()
    if error:
        metrics.guard_error(guard.name, guard.version, error)
    return Judgement(guard.name, guard.version, guard.digest, guard.covers(stage), scores, error, languages=languages)


def _why(error: BaseException) -> str:
    return str(error) if isinstance(error, GuardError) else type(error).__name__


def _worst(scores: Sequence[Scores], starts: Sequence[int]) -> Scores:
    worst: dict[str, float] = {}
    for part in scores:
        for category, score in part.by_category.items():
            worst[category] = max(score, worst.get(category, 0.0))
    shifted = (
        Span(s.start + at, s.end + at, s.category) for p, at in zip(scores, starts, strict=True) for s in p.spans
    )
    return Scores(worst, tuple(dict.fromkeys(shifted)))
