"""Routes of those who pick what to label next: what nobody was asked about yet, and what is to be asked about."""

from dataclasses import asdict

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api import examples_review as examples
from service.api.body import BadRequest, JsonLines, JsonResponse
from service.api.deps import Api
from service.api.openapi import ASKED_FAILS, LINES, SAID_FAILS, request_body, success
from service.api.parsed import body_of, query
from service.api.record import record
from service.api.review import ItemsRequest
from service.ledger import audit
from service.review.selection import Picked, ask_about, unreviewed

MOST: int = 20_000


def selecting(api: Api) -> APIRouter:
    """For operators."""
    router = APIRouter(prefix="/v1/review", tags=["learn"])
    limit = {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": MOST}}

    @router.get(
        "/candidates",
        summary="What nobody was asked about yet, by its scores; no text",
        responses=LINES | ASKED_FAILS,
        openapi_extra={"parameters": [limit]},
    )
    async def candidates(request: Request) -> Response:
        given = query(request, "limit").get("limit", "5000")
        if not given.isascii() or not given.isdigit() or not 1 <= int(given[:9]) <= MOST:
            raise BadRequest(f"limit: a number of 1 to {MOST}.", "limit")
        async with record(api) as store:
            found = await unreviewed(store, int(given))
            await audit.record(store, request.state.caller.key_id, "read", "candidates", exchanges=len(found))
        return JsonLines(asdict(one) for one in found)

    @router.post(
        "/items",
        summary="Put exchanges into the review queue",
        responses=success("ReviewItemsAsked", examples.ASKED) | SAID_FAILS,
        openapi_extra=request_body(ItemsRequest, examples.ITEMS_REQUESTS),
    )
    async def ask(request: Request) -> Response:
        asked = await body_of(api, request, ItemsRequest)
        picked = [Picked(one.exchange_id, one.reason, one.inclusion_probability) for one in asked.items]
        async with record(api) as store:
            found = await ask_about(store, picked, request.state.caller.key_id)
        return JsonResponse({"object": "list", "data": [asdict(one) for one in found]})

    return router
