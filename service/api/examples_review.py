"""Examples of feedback, appeals and review for the OpenAPI document."""

from typing import Final

from service.gate.exchange import Json

_EXCHANGE: Final = "exc_0f3a5c7e9b1d4f6a8c0e2b4d6f8a1c3e"

FEEDBACK_REQUESTS: Final[dict[str, Json]] = {
    "thumb": {"exchange_id": _EXCHANGE, "kind": "thumbs_up"},
    "rating": {"exchange_id": _EXCHANGE, "kind": "rating", "rating": 2, "preferred_answer": "Paris."},
    "report": {"exchange_id": _EXCHANGE, "kind": "report", "categories": ["hate"], "comment": "It insults my town."},
}
FEEDBACK: Final[Json] = {"id": "rep_7d1c", "object": "feedback", "exchange_id": _EXCHANGE, "kind": "thumbs_up"}
APPEAL_REQUESTS: Final[dict[str, Json]] = {
    "refused": {"exchange_id": _EXCHANGE, "statement": "I asked about the chess opening of that name."}
}
APPEAL: Final[Json] = {
    "id": "app_7d1c",
    "object": "appeal",
    "exchange_id": _EXCHANGE,
    "status": "received",
    "created_at": 1795000000,
    "decided_at": None,
}

_YOURS: Final = "7d1c0f3a5c7e9b1d4f6a8c0e2b4d6f8a"
COUNTS: Final[Json] = {
    "object": "list",
    "data": [
        {
            "queue": "urgent",
            "description": "somebody may be about to be hurt",
            "target_s": 900.0,
            "open": 2,
            "contested": 0,
            "overdue": 1,
            "oldest_s": 1021.5,
            "late_s": 121.5,
        }
    ],
}
NEXT_REQUESTS: Final[dict[str, Json]] = {"any": {}, "urgent": {"queues": ["urgent"]}}
ITEM: Final[Json] = {
    "object": "review.item",
    "id": "item_7d1c",
    "exchange_id": _EXCHANGE,
    "queue": "default",
    "why": "flagged",
    "state": "open",
    "category": "harm",
    "categories": ["harm"],
    "tenant": "acme",
    "outcome": "refused_input",
    "parts": [{"name": "asked/0", "title": "The user asked", "text": "...", "released": None, "judged": True}],
    "deliveries": [],
    "verdicts": None,
    "said": {"by_clients": [], "decisions": [], "adjudications": [], "comments": [], "gold": None},
}
CLAIM: Final[Json] = {"object": "review.claim", "token": _YOURS, "leased_until": 1795000600.0, "item": ITEM}
REVEAL_REQUESTS: Final[dict[str, Json]] = {"reason": {"reason": "the address may be the one that was threatened"}}
DECIDE_REQUESTS: Final[dict[str, Json]] = {
    "right": {"token": _YOURS, "input": "harmful", "action": "correct", "categories": ["harm"], "severity": 2},
    "over-block": {"token": _YOURS, "input": "ok", "action": "over_block", "confidence": 0.9, "note": "It is chess."},
}
DECIDED: Final[Json] = {"object": "review.done", "decision_id": "dec_7d1c", "undo_s": 20.0}
UNDO_REQUESTS: Final[dict[str, Json]] = {"last": {"decision_id": "dec_7d1c"}}
SKIP_REQUESTS: Final[dict[str, Json]] = {"skip": {"token": _YOURS, "reason": "prefer_not_to_view"}}
CLAIM_REQUESTS: Final[dict[str, Json]] = {"token": {"token": _YOURS}}
DONE: Final[Json] = {"object": "review.done"}
HELD: Final[Json] = {"object": "review.done", "leased_until": 1795000600.0}
ITEMS_REQUESTS: Final[dict[str, Json]] = {
    "near the threshold": {
        "items": [{"exchange_id": _EXCHANGE, "reason": "threshold", "inclusion_probability": 1.0}],
    }
}
ASKED: Final[Json] = {
    "object": "list",
    "data": [{"exchange_id": _EXCHANGE, "item_id": "item_7d1c", "added": True}],
}
