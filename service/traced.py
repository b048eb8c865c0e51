"""What the gate uses, with a span for each call. Put around it at start where tracing is on; else nothing is there."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import aclosing
from typing import Protocol, TypeVar

from opentelemetry.trace import SpanKind

from guards.policy import Policy
from guards.verdict import Judgement, Passage
from service.gate.exchange import Caller, Delta, Endpoint, Engine, Json, Judges, Ledger
from service.gate.pipeline import Gate
from service.telemetry.tracing import NONE, Facts, Held, Tracing, below, enter, held, now_ns

T = TypeVar("T")


def around(gate: Gate, tracing: Tracing) -> None:
    """Traces everything that the exchanges of `gate` do from now on."""
    gate.engine = TracedEngine(gate.engine, tracing)
    gate.judges = TracedJudges(gate.judges, tracing)
    gate.ledger = TracedLedger(gate.ledger, tracing)


class _Keys(Protocol):
    async def lookup(self, token: str) -> Caller | None: ...


async def _within(tracing: Tracing, name: str, work: Awaitable[T], facts: Facts = NONE) -> T:
    span, error = tracing.begin(name, facts), None
    try:
        return await work
    except Exception as raised:
        error = raised
        raise
    finally:
        tracing.finish(span, error)


class TracedEngine:
    """`engine`, with `engine.queue_and_prefill` until the first chunk and `engine.decode` until the last below it."""

    def __init__(self, engine: Engine, tracing: Tracing) -> None:
        self._engine, self._tracing = engine, tracing
        self.models, self.ready = engine.models, engine.ready

    async def stream(self, endpoint: Endpoint, body: Json, tenant: str) -> AsyncIterator[Delta]:
        tracing, holding, error, chunks = self._tracing, held.get() or Held(), None, 0
        span = tracing.begin("engine", {"endpoint": endpoint}, kind=SpanKind.CLIENT)
        phase = tracing.begin("engine.queue_and_prefill", parent=below(span))
        enter(span)  # the generation runs in a task of its own
        try:
            async with aclosing(self._engine.stream(endpoint, body, tenant)) as deltas:  # type: ignore[type-var]
                async for delta in deltas:
                    if not chunks:
                        phase.end()
                        phase = tracing.begin("engine.decode", parent=below(span))
                    chunks += 1
                    if delta.text and not holding.since_ns:
                        holding.since_ns = now_ns()
                    yield delta
        except BaseException as raised:
            error = raised
            raise
        finally:
            phase.end()
            tracing.finish(span, error if isinstance(error, Exception) else None, {"chunks": chunks})

    async def embed(self, body: Json) -> Json:
        return await _within(self._tracing, "engine", self._engine.embed(body), {"endpoint": "embeddings"})


class TracedJudges:
    """`judge.input` and `judge.output`; before the latter `hold`, from the first text that waited."""

    def __init__(self, judges: Judges, tracing: Tracing) -> None:
        self._judges, self._tracing = judges, tracing

    def of(self, exchange_id: str, key_id: str) -> "TracedJudges":
        return TracedJudges(self._judges.of(exchange_id, key_id), self._tracing)

    async def judge(self, passages: Sequence[Passage], policy: Policy, tenant: str) -> list[list[Judgement]]:
        if not passages:
            return await self._judges.judge(passages, policy, tenant)
        stage, waiting = passages[0].stage, sum(len(p.text) - p.since for p in passages)
        if stage == "output" and (holding := held.get()) and holding.since_ns:
            self._tracing.begin("hold", {"held_chars": waiting}, start_ns=holding.since_ns).end()
            holding.since_ns = 0
        judged = self._judges.judge(passages, policy, tenant)
        facts: Facts = {"passages": len(passages), "chars": waiting, "guards": ",".join(policy.guards)}
        return await _within(self._tracing, f"judge.{stage}", judged, facts)


class TracedLedger:
    """`ledger.append` and `ledger.commit`, which waits for the disk."""

    def __init__(self, ledger: Ledger, tracing: Tracing) -> None:
        self._ledger, self._tracing = ledger, tracing

    def append(self, event: Json) -> None:
        span, error = self._tracing.begin("ledger.append", {"event": event["event"]}), None
        try:
            self._ledger.append(event)
        except Exception as raised:
            error = raised
            raise
        finally:
            self._tracing.finish(span, error)

    async def commit(self, event: Json) -> None:
        await _within(self._tracing, "ledger.commit", self._ledger.commit(event), {"event": event["event"]})


class TracedKeys:
    """`auth`: whose key it is."""

    def __init__(self, keys: _Keys, tracing: Tracing) -> None:
        self._keys, self._tracing = keys, tracing

    async def lookup(self, token: str) -> Caller | None:
        return await _within(self._tracing, "auth", self._keys.lookup(token))
