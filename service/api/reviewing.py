"""Routes of those who look again: what clients say of answers, appeals, and review by program."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api import examples_review as examples
from service.api.appeals import AppealRequest, document
from service.api.body import JsonResponse
from service.api.deps import Api
from service.api.feedback import FeedbackRequest, keep
from service.api.openapi import errors as fails
from service.api.openapi import request_body, success
from service.api.parsed import body_of
from service.api.record import record
from service.review.appeals import appeal as lodge
from service.review.appeals import status


def looking_again(api: Api) -> APIRouter:
    """For clients: feedback and appeals."""
    router = APIRouter(prefix="/v1", tags=["look again"])
    fail = fails(400, 401, 403, 404, 409, 413, 415, 429, 503)

    @router.post(
        "/feedback",
        summary="Say what an answer was like, or report it",
        responses=success("Feedback", examples.FEEDBACK) | fail,
        openapi_extra=request_body(FeedbackRequest, examples.FEEDBACK_REQUESTS),
    )
    async def give_feedback(request: Request) -> Response:
        said = await body_of(api, request, FeedbackRequest)
        async with record(api) as store:
            kept = await keep(store, said, request.state.caller)
        api.metrics.feedback.labels(said.kind).inc()
        return JsonResponse(kept)

    @router.post(
        "/appeals",
        summary="Ask that somebody look again at what was held back",
        responses=success("Appeal", examples.APPEAL) | fail,
        openapi_extra=request_body(AppealRequest, examples.APPEAL_REQUESTS),
    )
    async def lodge_appeal(request: Request) -> Response:
        asked = await body_of(api, request, AppealRequest)
        async with record(api) as store:
            lodged = await lodge(store, request.state.caller, asked.exchange_id, asked.statement)
        api.metrics.appeals.inc()
        return JsonResponse(document(lodged))

    @router.get(
        "/appeals/{appeal}",
        summary="How an appeal stands",
        responses=success("Appeal", examples.APPEAL) | fails(401, 403, 404, 429, 503),
    )
    async def read_appeal(appeal: str, request: Request) -> Response:
        async with record(api) as store:
            return JsonResponse(document(await status(store, appeal, request.state.caller.tenant)))

    return router
