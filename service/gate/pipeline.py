"""One guarded exchange, top to bottom: ask the engine, judge the input, hold, judge, release, record."""

import time
from collections.abc import AsyncGenerator, Sequence
from itertools import chain

from guards.policy import Policy
from guards.redact import redact
from guards.verdict import Passage
from service.gate import events
from service.gate.decisions import Decision, decide
from service.gate.exchange import (
    Asked,
    Caller,
    Exchange,
    Finished,
    GuardUnavailable,
    Json,
    Opened,
    Piece,
    Refused,
    Release,
    Usage,
)
from service.gate.generation import Channelled, Choice, Generation
from service.gate.reading import Read, read, redactions
from service.gate.work import Gate as Gate
from service.gate.work import admitted, begun, recorded

WITHHELD = "The rest of this answer was withheld by the content policy."


async def answer(gate: Gate, asked: Asked, caller: Caller) -> AsyncGenerator[Release, None]:
    """Yields what may leave, in order: Opened, then Pieces and a Finished for each choice, then Usage if known.

    Close it (`aclosing`) when the client leaves: the engine's request stops at once and the record is kept.

    Raises:
        Overloaded, Refused, EngineRejected: before the first item.
        GuardUnavailable, EngineUnavailable, LedgerUnavailable: at any time.
    """
    exchange = begun(gate, asked, caller)
    async with recorded(gate, exchange) as work:
        if gate.in_flight <= gate.early_exchanges:
            work.generate(asked.body)
        body = await _judged_input(gate, exchange)
        if body is None:  # the policy answers in the model's place
            yield Opened(exchange.id)
            for index in range(asked.choices):
                yield Piece(index, "content", exchange.policy.replacement)
                yield Finished(index, "content_filter", exchange.policy.replacement)
            return
        generation = await work.generation_of(body)
        await generation.started.wait()
        if generation.error:
            raise generation.error
        yield Opened(exchange.id)
        while True:
            await generation.changed.wait()
            generation.changed.clear()
            while ready := [c for c in generation.holds() if c.hold.ready]:
                for release in await _judged_output(gate, exchange, generation, ready):
                    yield release
            for choice in generation.choices:
                if choice.drained and not choice.closed:
                    choice.closed = True
                    yield Finished(choice.index, choice.finish_reason or "stop")
            if all(c.closed for c in generation.choices) and (generation.done or exchange.outcome == "refused_output"):
                break
            if generation.error:
                raise generation.error
        if exchange.outcome == "interrupted":
            exchange.outcome = "completed"
        if generation.usage is not None and generation.done:
            yield Usage(generation.usage)


async def embed(gate: Gate, asked: Asked, caller: Caller) -> Json:
    """One vector for each text asked, as the engine answers. Vectors are numbers: only the texts are judged.

    Raises:
        Overloaded, Refused, EngineRejected, GuardUnavailable, EngineUnavailable, LedgerUnavailable
    """
    exchange = begun(gate, asked, caller)
    async with recorded(gate, exchange):
        body = await _judged_input(gate, exchange)
        if body is None:  # no text of the policy's can stand for numbers
            replaced = dict.fromkeys(v.category for v in exchange.verdicts if v.action == "replace")
            raise Refused(exchange.id, "input", tuple(replaced), exchange.policy.name)
        vectors = await gate.engine.embed(body)
        exchange.outcome = "completed"
        return vectors


async def examine(
    gate: Gate, passages: Sequence[Passage], policy: Policy, tenant: str, conversation: bool
) -> list[Read]:
    """What a policy makes of texts, without an exchange: nothing is generated, nothing is recorded.

    Raises:
        Overloaded, EngineRejected: too many requests at once, too much text.
    """
    with admitted(gate, passages):
        return await read(gate.judges, passages, policy, tenant, conversation)


async def _judged_input(gate: Gate, exchange: Exchange) -> Json | None:
    """The body that may go to the model: as asked, with redacted texts, or None where the policy answers itself."""
    asked, policy = exchange.asked, exchange.policy
    found = await read(exchange.judges, asked.passages, policy, exchange.caller.tenant, asked.conversation)
    exchange.note("input", chain.from_iterable(r.judgements for r in found if r.joined is None))
    for r in found:
        if r.decision.verdicts:
            await _record(gate, exchange, r.passage, r.decision)
    refused = [r.decision for r in found if r.decision.action == "refuse"]
    if any(not d.guard_failed for d in refused):
        exchange.outcome = "refused_input"
        categories = dict.fromkeys(c for d in refused if not d.guard_failed for c in d.categories)
        raise Refused(exchange.id, "input", tuple(categories), policy.name)
    if refused:
        raise GuardUnavailable("A guard could not judge the input. Retry shortly.")
    if any(r.decision.action == "replace" for r in found):
        exchange.outcome = "refused_input"
        return None
    spans = redactions(found)
    if any(spans):
        return asked.rewrite([redact(p.text, s) for p, s in zip(asked.passages, spans, strict=True)])
    return asked.body


async def _judged_output(
    gate: Gate, exchange: Exchange, generation: Generation, ready: Sequence[Channelled]
) -> list[Release]:
    """Judges one segment of each ready hold, all in one batch, and returns what may leave for it."""
    judged_at = time.perf_counter()
    passages = [c.passage(exchange.asked) for c in ready]
    judgements = await exchange.judges.judge(passages, exchange.policy, exchange.caller.tenant)
    gate.metrics.held(time.perf_counter() - judged_at)
    releases: list[Release] = []
    for channelled, passage, judged in zip(ready, passages, judgements, strict=True):
        choice = generation.choices[channelled.index]
        if choice.closed:  # refused a moment ago, in another channel
            continue
        exchange.note("output", judged)
        decision = decide(passage, judged, exchange.policy)
        await _record(gate, exchange, passage, decision, channelled)
        if decision.guard_failed:
            raise GuardUnavailable("A guard could not judge the answer; the rest is withheld. Retry shortly.")
        if decision.action in ("refuse", "replace"):
            releases += _refusal(exchange, choice, channelled, decision)
            continue
        piece = _cleared(channelled, passage, decision)
        if piece.text or piece.tool is not None:
            releases.append(piece)
            _first_content(gate, exchange)
    return releases


def _cleared(channelled: Channelled, passage: Passage, decision: Decision) -> Piece:
    return channelled.piece(*channelled.hold.clear(len(passage.text), decision.redactions))


def _refusal(exchange: Exchange, choice: Choice, channelled: Channelled, decision: Decision) -> list[Release]:
    exchange.outcome = "refused_output"
    choice.closed, choice.finish_reason = True, "content_filter"
    replaced = decision.action == "replace"
    refusal = exchange.policy.replacement if replaced else WITHHELD
    finished = Finished(choice.index, "content_filter", refusal, decision.categories)
    return [Piece(choice.index, "content", refusal), finished] if replaced else [finished]


async def _record(
    gate: Gate, exchange: Exchange, passage: Passage, decision: Decision, at: Channelled | None = None
) -> None:
    """Makes new verdicts durable before anything further leaves. What the same text kept triggering is not repeated."""
    seen = at.seen if at else set()
    fresh = [v for v in decision.verdicts if v.kind not in seen]
    blocked = decision.action in ("refuse", "replace")
    if not fresh and not blocked:
        return
    seen.update(v.kind for v in fresh)
    exchange.verdicts += decision.verdicts if blocked else fresh
    for v in fresh:
        gate.metrics.verdict(v)
    if decision.guard_failed:
        exchange.outcome = "guard_unavailable"
    event = events.verdict(exchange, passage, decision.verdicts if blocked else fresh, blocked, at)
    if event["flagged"]:
        await gate.ledger.commit(event)
    else:  # a failed guard during an outage: counted and kept, but nobody waits for the disk or reviews it
        gate.ledger.append(event)


def _first_content(gate: Gate, exchange: Exchange) -> None:
    if exchange.first_content_s is None:
        exchange.first_content_s = time.time() - exchange.started_at
        gate.metrics.first_content(exchange.first_content_s)
