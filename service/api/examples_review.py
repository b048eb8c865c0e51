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
