"""POST /v1/appeals and GET /v1/appeals/{appeal}: somebody looks again at what was held back."""

from typing import Annotated

from pydantic import StringConstraints

from service.api.feedback import MOST_CHARS, ExchangeId
from service.api.schemas import Strict
from service.gate.exchange import Json
from service.review.appeals import Appeal


class AppealRequest(Strict):
    """Why the refusal was wrong, in the words of whoever was refused."""

    exchange_id: ExchangeId
    statement: Annotated[str, StringConstraints(min_length=1, max_length=MOST_CHARS)]


def document(appeal: Appeal) -> Json:
    """What the client is told: never who decided, or why."""
    return {
        "id": appeal.id,
        "object": "appeal",
        "exchange_id": appeal.exchange_id,
        "status": appeal.status,
        "created_at": int(appeal.at),
        "decided_at": int(appeal.decided_at) if appeal.decided_at is not None else None,
    }
