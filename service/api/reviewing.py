"""Routes of those who look again: what clients say of answers, appeals, and review by program."""

from dataclasses import asdict

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api import examples_review as examples
from service.api import review
from service.api.appeals import AppealRequest, document
from service.api.body import JsonResponse
from service.api.deps import Api
from service.api.feedback import FeedbackRequest, keep
from service.api.openapi import READ_FAILS, SAID_FAILS, request_body, success
from service.api.parsed import body_of
from service.api.record import record
from service.review.appeals import appeal as lodge
from service.review.appeals import status
from service.review.claims import heartbeat, next_item, release_claim, skip
from service.review.decisions import UNDO_S, undo
from service.review.entries import counts
from service.review.reviewer import may_see


def looking_again(api: Api) -> APIRouter:
    """For clients: feedback and appeals."""
    router = APIRouter(prefix="/v1", tags=["look again"])

    @router.post(
        "/feedback",
        summary="Say what an answer was like, or report it",
        responses=success("Feedback", examples.FEEDBACK) | SAID_FAILS,
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
        responses=success("Appeal", examples.APPEAL) | SAID_FAILS,
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
        responses=success("Appeal", examples.APPEAL) | READ_FAILS,
    )
    async def read_appeal(appeal: str, request: Request) -> Response:
        async with record(api) as store:
            return JsonResponse(document(await status(store, appeal, request.state.caller.tenant)))

    return router


def reviewing(api: Api) -> APIRouter:
    """For moderators: what waits, looking at it, deciding."""
    router = APIRouter(prefix="/v1/review", tags=["review"])
    _finding(router, api)
    _looking(router, api)
    _deciding(router, api)
    _letting_go(router, api)
    return router


def _finding(router: APIRouter, api: Api) -> None:
    blind_share = api.settings.console_blind_share

    @router.get(
        "/counts", summary="What waits, by queue", responses=success("ReviewCounts", examples.COUNTS) | READ_FAILS
    )
    async def review_counts(request: Request) -> Response:
        async with record(api) as store:
            found = await counts(store, review.reviewer_of(request.state.caller))
        return JsonResponse({"object": "list", "data": [asdict(count) for count in found]})

    @router.post(
        "/next",
        summary="The item to look at next, claimed",
        responses=success("ReviewClaim", examples.CLAIM) | SAID_FAILS,
        openapi_extra=request_body(review.NextRequest, examples.NEXT_REQUESTS),
    )
    async def review_next(request: Request) -> Response:
        asked = await body_of(api, request, review.NextRequest)
        who = review.reviewer_of(request.state.caller)
        queues = asked.queues or ("urgent", "default")
        async with record(api) as store:
            for queue in queues:
                may_see(who, queue)
            if (held := await next_item(store, who, queues)) is None:
                return JsonResponse({"object": "review.claim", "token": None, "leased_until": None, "item": None})
            return JsonResponse(review.claimed(held, await review.shown(store, held.item.id, who, blind_share)))


def _looking(router: APIRouter, api: Api) -> None:
    blind_share = api.settings.console_blind_share

    @router.get("/items/{item}", summary="Look at an item", responses=success("ReviewItem", examples.ITEM) | READ_FAILS)
    async def review_item(item: str, request: Request) -> Response:
        async with record(api) as store:
            who = review.reviewer_of(request.state.caller)
            return JsonResponse(await review.shown(store, item, who, blind_share))

    @router.post(
        "/items/{item}/reveal",
        summary="Look at an item with its personal data",
        responses=success("ReviewItem", examples.ITEM) | SAID_FAILS,
        openapi_extra=request_body(review.RevealRequest, examples.REVEAL_REQUESTS),
    )
    async def review_reveal(item: str, request: Request) -> Response:
        asked = await body_of(api, request, review.RevealRequest)
        async with record(api) as store:
            who = review.reviewer_of(request.state.caller)
            return JsonResponse(await review.shown(store, item, who, blind_share, asked.reason))


def _deciding(router: APIRouter, api: Api) -> None:
    blind_share = api.settings.console_blind_share

    @router.post(
        "/decide",
        summary="Decide the item that a token claims",
        responses=success("ReviewDone", examples.DECIDED) | SAID_FAILS,
        openapi_extra=request_body(review.DecideRequest, examples.DECIDE_REQUESTS),
    )
    async def review_decide(request: Request) -> Response:
        asked = await body_of(api, request, review.DecideRequest)
        async with record(api) as store:
            who = review.reviewer_of(request.state.caller)
            decision_id = await review.decided(store, asked, who, blind_share)
        return JsonResponse({"object": "review.done", "decision_id": decision_id, "undo_s": UNDO_S})

    @router.post(
        "/undo",
        summary="Take a decision back, within seconds",
        responses=success("ReviewClaim", examples.CLAIM) | SAID_FAILS,
        openapi_extra=request_body(review.UndoRequest, examples.UNDO_REQUESTS),
    )
    async def review_undo(request: Request) -> Response:
        asked = await body_of(api, request, review.UndoRequest)
        who = review.reviewer_of(request.state.caller)
        async with record(api) as store:
            held = await undo(store, asked.decision_id, who)
            return JsonResponse(review.claimed(held, await review.shown(store, held.item.id, who, blind_share)))


def _letting_go(router: APIRouter, api: Api) -> None:
    @router.post(
        "/skip",
        summary="Leave an item to others",
        responses=success("ReviewDone", examples.DONE) | SAID_FAILS,
        openapi_extra=request_body(review.SkipRequest, examples.SKIP_REQUESTS),
    )
    async def review_skip(request: Request) -> Response:
        asked = await body_of(api, request, review.SkipRequest)
        async with record(api) as store:
            await review.theirs(store, asked.token, review.reviewer_of(request.state.caller))
            await skip(store, asked.token, asked.reason)
        return JsonResponse({"object": "review.done"})

    @router.post(
        "/heartbeat",
        summary="Keep an item for longer",
        responses=success("ReviewDone", examples.HELD) | SAID_FAILS,
        openapi_extra=request_body(review.ClaimRequest, examples.CLAIM_REQUESTS),
    )
    async def review_heartbeat(request: Request) -> Response:
        asked = await body_of(api, request, review.ClaimRequest)
        async with record(api) as store:
            await review.theirs(store, asked.token, review.reviewer_of(request.state.caller))
            until = await heartbeat(store, asked.token)
        return JsonResponse({"object": "review.done", "leased_until": until})

    @router.post(
        "/release",
        summary="Give an item back undecided",
        responses=success("ReviewDone", examples.DONE) | SAID_FAILS,
        openapi_extra=request_body(review.ClaimRequest, examples.CLAIM_REQUESTS),
    )
    async def review_release(request: Request) -> Response:
        asked = await body_of(api, request, review.ClaimRequest)
        async with record(api) as store:
            await review.theirs(store, asked.token, review.reviewer_of(request.state.caller))
            await release_claim(store, asked.token)
        return JsonResponse({"object": "review.done"})
