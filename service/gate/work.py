"""What every exchange of a process shares, and the frame of each: admission, the engine at work, begin and end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import anyio

from guards.policy import Policy
from guards.verdict import Passage
from service.gate import events
from service.gate.exchange import (
    Asked,
    Caller,
    Engine,
    EngineRejected,
    Exchange,
    GateError,
    Json,
    Judges,
    Ledger,
    LedgerUnavailable,
    Overloaded,
)
from service.gate.generation import Choice, Generation
from service.gate.release import Pace
from service.telemetry.metrics import Metrics


@dataclass(slots=True)
class Gate:
    """What every exchange of this process shares."""

    engine: Engine
    judges: Judges
    ledger: Ledger
    policy: Callable[[Caller], Policy]
    metrics: Metrics
    max_exchanges: int = 256
    early_exchanges: int = 64  # above so many at once, the engine waits for the input's verdict
    max_prompt_chars: int = 200_000
    in_flight: int = 0
    adapted: Callable[[Asked, Caller], Asked] = lambda asked, _: asked  # which adapter of the model answers
    beside: Callable[[Exchange, Sequence[Choice]], None] = lambda *_: None  # told of each exchange that has ended


class Work:
    """The engine's side of one exchange: at most one generation, restarted when the input was redacted."""

    def __init__(self, gate: Gate, exchange: Exchange) -> None:
        self._gate, self._exchange = gate, exchange
        self._body: Json | None = None
        self.generation: Generation | None = None

    def generate(self, body: Json) -> Generation:
        asked, policy = self._exchange.asked, self._exchange.policy
        first = policy.first_segment_chars if asked.stream else policy.most_segment_chars
        pace = Pace(policy.lookahead_chars, first, policy.most_segment_chars, whole=policy.streaming == "full")
        deltas = self._gate.engine.stream(asked.endpoint, body, self._exchange.caller.tenant)
        self._body, self.generation = body, Generation(deltas, asked.choices, pace)
        return self.generation

    async def generation_of(self, body: Json) -> Generation:
        """The generation of exactly this body; an early one of another is aborted."""
        if self.generation is not None and self._body is body:
            return self.generation
        await self.stop()
        return self.generate(body)

    async def stop(self) -> None:
        if self.generation is not None:
            await self.generation.stop()


def begun(gate: Gate, asked: Asked, caller: Caller) -> Exchange:
    """The policy, the judges and the adapter of this moment are the exchange's to its end."""
    return Exchange(gate.adapted(asked, caller), caller, gate.policy(caller), gate.judges.of(asked.id, caller.key_id))


@contextmanager
def admitted(gate: Gate, passages: Sequence[Passage]) -> Iterator[None]:
    """A place among those at work. Raises Overloaded, EngineRejected (too much text)."""
    if gate.in_flight >= gate.max_exchanges:
        gate.metrics.overloaded()
        raise Overloaded
    chars, most = sum(len(p.text) for p in passages), gate.max_prompt_chars
    if chars > most:
        raise EngineRejected(f"The prompt has {chars} characters; at most {most} can be judged in time.")
    gate.in_flight += 1
    gate.metrics.in_flight.set(gate.in_flight)
    try:
        yield
    finally:
        gate.in_flight -= 1
        gate.metrics.in_flight.set(gate.in_flight)


@asynccontextmanager
async def recorded(gate: Gate, exchange: Exchange) -> AsyncIterator[Work]:
    """Admission, `asked` before, `closed` after, whatever happens in between; the engine is stopped first."""
    with admitted(gate, exchange.asked.passages):
        _begin(gate, exchange)
        work = Work(gate, exchange)
        try:
            yield work
        except GateError as error:
            if isinstance(error, LedgerUnavailable):
                gate.metrics.ledger_errors.labels("commit").inc()
            if exchange.outcome == "interrupted":
                exchange.outcome = error.code if error.code != "invalid_request_error" else "rejected"
            raise
        except (GeneratorExit, asyncio.CancelledError):
            exchange.outcome = "client_left"
            raise
        except Exception:
            exchange.outcome = "failed"
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await work.stop()
                _close(gate, exchange, work.generation)


def _begin(gate: Gate, exchange: Exchange) -> None:
    try:
        gate.ledger.append(events.asked(exchange))
    except LedgerUnavailable:
        gate.metrics.ledger_errors.labels("begin").inc()
        raise


def _close(gate: Gate, exchange: Exchange, generation: Generation | None) -> None:
    choices, usage = (generation.choices, generation.usage) if generation else ([], None)
    gate.metrics.closed(exchange, choices)
    try:
        gate.ledger.append(events.closed(exchange, choices, usage))
    except LedgerUnavailable:  # what has no end in the ledger is closed there as interrupted
        gate.metrics.ledger_errors.labels("append").inc()
    gate.beside(exchange, choices)
