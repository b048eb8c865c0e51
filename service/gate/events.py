"""What the ledger hears of an exchange, as plain JSON. Users' text is under "texts" and nowhere else."""

import time
from collections.abc import Sequence

from guards.policy import Policy
from guards.verdict import Passage, Verdict
from service.gate.exchange import Exchange, Json
from service.gate.generation import Channelled, Choice


def asked(exchange: Exchange) -> Json:
    request, policy = exchange.asked, exchange.policy
    return {
        "event": "asked",
        "id": f"{exchange.id}:asked",
        "exchange_id": exchange.id,
        "at": exchange.started_at,
        "endpoint": request.endpoint,
        "model": request.body.get("model"),
        "stream": request.stream,
        "choices": request.choices,
        "key_id": exchange.caller.key_id,
        "tenant": exchange.caller.tenant,
        "subject": request.subject,
        "policy": policy.name,
        "policy_version": policy.version,
        "policy_digest": policy.digest,
        "store": policy.store,
        "sampled": sampled(exchange.id, policy),
        "sample_share": policy.sample_share,
        "restricted": sorted(name for name, own in policy.categories.items() if own.restricted),
        "urgent": sorted(name for name, own in policy.categories.items() if own.urgent),
        "texts": {"passages": [{"kind": p.kind, "text": p.text} for p in request.passages]},
    }


def sampled(exchange_id: str, policy: Policy) -> bool:
    """Whether a clean exchange is kept: decided by its id alone, so that it can be checked later."""
    return policy.store == "sampled" and int(exchange_id[-8:], 16) < policy.sample_share * 2**32


def verdict(
    exchange: Exchange, passage: Passage, verdicts: Sequence[Verdict], blocked: bool, at: Channelled | None = None
) -> Json:
    number = len(exchange.verdicts)
    return {
        "event": "verdict",
        "id": f"{exchange.id}:verdict:{number}",
        "exchange_id": exchange.id,
        "at": time.time(),
        "stage": passage.stage,
        "choice": at.index if at else None,
        "channel": at.channel if at else passage.kind,
        "blocked": blocked,
        "flagged": any(v.flagging for v in verdicts),
        "released_chars": at.hold.released if at else 0,
        "verdicts": [plain(v) for v in verdicts],
        "texts": {"judged": passage.text},
    }


def closed(exchange: Exchange, choices: Sequence[Choice], usage: Json | None) -> Json:
    kept = exchange.flagged or exchange.outcome == "interrupted" or sampled(exchange.id, exchange.policy)
    channels = [(choice, c) for choice in choices for c in choice.holds.values()]
    return {
        "event": "closed",
        "id": f"{exchange.id}:closed",
        "exchange_id": exchange.id,
        "at": time.time(),
        "outcome": exchange.outcome,
        "flagged": exchange.flagged,
        "duration_s": time.time() - exchange.started_at,
        "first_content_s": exchange.first_content_s,
        "usage": usage,
        "scores": exchange.scores,
        "deliveries": [
            {
                "index": c.index,
                "channel": _place(c),
                "generated_chars": len(c.hold.text),
                "released_chars": c.hold.released,
                "withheld_chars": len(c.hold.text) - c.hold.released,
                "finish_reason": choice.finish_reason,
            }
            for choice, c in channels
        ],
        "texts": {"generated": {f"{c.index}/{_place(c)}": c.hold.text for _, c in channels}} if kept else {},
    }


def _place(channelled: Channelled) -> str:
    return channelled.channel if channelled.tool is None else f"tool_arguments/{channelled.tool}"


def plain(verdict: Verdict) -> Json:
    """A verdict as JSON."""
    plain = {name: getattr(verdict, name) for name in Verdict.__slots__}
    return plain | {"spans": [[s.start, s.end, s.category] for s in verdict.spans]}
