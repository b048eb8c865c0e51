"""The route of those who watch for drift: scores of a stretch of time, no text."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.body import BadRequest, JsonLines
from service.api.deps import Api
from service.api.openapi import ASKED_FAILS, LINES
from service.api.parsed import query
from service.api.record import record
from service.learning.scores import scored


def scoring(api: Api) -> APIRouter:
    """For operators."""
    router = APIRouter(prefix="/v1/learning", tags=["learn"])
    moments = [{"name": name, "in": "query", "schema": {"type": "number", "minimum": 0}} for name in ("since", "until")]

    @router.get(
        "/scores",
        summary="What the exchanges between two moments scored; no text",
        responses=LINES | ASKED_FAILS,
        openapi_extra={"parameters": moments},
    )
    async def scores(request: Request) -> Response:
        since, until = _moment(request, "since", 0.0), _moment(request, "until", 1e12)
        async with record(api) as store:
            return JsonLines([row async for row in scored(store, since, until)])

    return router


def _moment(request: Request, name: str, otherwise: float) -> float:
    given = query(request, "since", "until").get(name)
    try:
        value = otherwise if given is None else float(given)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1e12:
        raise BadRequest(f"{name}: unix seconds, such as 1800000000.", name)
    return value
