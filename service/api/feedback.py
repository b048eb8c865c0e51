"""POST /v1/feedback: what a client says of an answer it got."""

from typing import Annotated

from pydantic import Field, StringConstraints, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from guards.taxonomy import CATEGORIES
from service.api.schemas import Id, Strict
from service.gate.exchange import Caller, Json
from service.ledger.store import Store
from service.review.feedback import Feedback, Kind, give

ExchangeId = Annotated[str, StringConstraints(pattern=r"^exc_[0-9a-f]{32}$")]
CategoryName = Annotated[str, WithJsonSchema({"enum": sorted(CATEGORIES)})]
MOST_CHARS = 20_000


class FeedbackRequest(Strict):
    """`rating` goes with the kind `rating`, `categories` with `report`."""

    exchange_id: ExchangeId = Field(description="from the header x-sluicegate-exchange, or from the refusal")
    kind: Kind
    rating: Annotated[int, Field(ge=1, le=5)] | None = None
    categories: Annotated[list[CategoryName], Field(max_length=16)] | None = None
    comment: Annotated[str, StringConstraints(max_length=MOST_CHARS)] | None = None
    preferred_answer: Annotated[str, StringConstraints(max_length=MOST_CHARS)] | None = None
    id: Id | None = Field(None, description="your own; sent again, the same one counts once")

    @model_validator(mode="after")
    def _fits(self) -> "FeedbackRequest":
        if (self.kind == "rating") != (self.rating is not None):
            raise PydanticCustomError("rating", "A rating of 1 to 5 goes with the kind 'rating', and with no other.")
        if self.categories and self.kind != "report":
            raise PydanticCustomError("categories", "Categories go with the kind 'report', and with no other.")
        if unknown := sorted(set(self.categories or ()) - set(CATEGORIES)):
            known = ", ".join(sorted(CATEGORIES))
            raise PydanticCustomError(
                "categories", "Unknown: {unknown}. Categories are: {known}.", {"unknown": unknown, "known": known}
            )
        return self


async def keep(store: Store, request: FeedbackRequest, caller: Caller) -> Json:
    """Raises ReviewError."""
    given = request.model_dump(exclude_none=True)
    said = Feedback(**given | {"categories": tuple(request.categories or ())})
    report_id = await give(store, caller, said)
    return {"id": report_id, "object": "feedback", "exchange_id": request.exchange_id, "kind": request.kind}
