"""One guard behind HTTP, for gateways elsewhere: the far end of `guards.remote`'s generic shape."""

import hmac
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from guards.guard import Guard
from guards.language import languages_of
from guards.remote import AnsweredJudge, AnsweredScores, AnsweredSpan, AskedJudge
from guards.verdict import Judgement, Passage, Scores
from service.api.body import JsonResponse, read
from service.api.errors import Denied, fault, respond
from service.gate.exchange import GateError, GuardUnavailable
from service.judges import BatchedJudges
from service.telemetry.metrics import Metrics

MOST_BYTES: Final = 4_000_000
log = structlog.get_logger(__name__)


class GuardFailed(GateError):
    """The guard could not judge one of the passages. The caller asks for each alone then."""

    code = "guard_failed"


def create_guard_server(guard: Guard, key: str, deadline_s: float = 30) -> Starlette:
    """`POST /judge` with `key` as bearer token, `GET /health` without; batches as the gateway does.

    Nothing is stored, and no text is logged.
    """
    judges = BatchedJudges([guard], Metrics())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with judges:
            yield

    async def health(_: Request) -> Response:
        return JsonResponse({"status": "ok"})

    async def judge(request: Request) -> Response:
        try:
            _authorize(request, key)
            asked = _asked(await read(request, MOST_BYTES))
            passages = [Passage(p.text, p.kind, p.prompt, p.since, p.growing) for p in asked.passages]
            # what callers' tenants share is theirs to know: no scores are kept from one request to the next
            rows = await judges.ask([guard.name], passages, deadline_s, secrets.token_hex(8))
            return JsonResponse(_answer(guard, [row[0] for row in rows]).model_dump(mode="json"))
        except GateError as error:
            return respond(error)

    return Starlette(
        routes=[Route("/health", health), Route("/judge", judge, methods=["POST"])],
        lifespan=lifespan,
        exception_handlers={Exception: _unexpected},
    )


def _authorize(request: Request, key: str) -> None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), key.encode()):
        raise Denied("The key is missing or wrong. Send it as: Authorization: Bearer KEY")


def _asked(body: object) -> AskedJudge:
    try:
        return AskedJudge.model_validate(body)
    except ValidationError as error:
        raise fault(error.errors(), body) from error


def _answer(guard: Guard, judgements: Sequence[Judgement]) -> AnsweredJudge:
    return AnsweredJudge(
        name=guard.name,
        version=guard.version,
        digest=guard.digest,
        covers={"input": guard.covers("input"), "output": guard.covers("output")},
        most_chars=guard.most_chars,
        languages=languages_of(guard),
        results=tuple(_result(_scored(j)) for j in judgements),
    )


def _scored(judgement: Judgement) -> Scores:
    if judgement.error in ("deadline", "stopped"):
        raise GuardUnavailable("The guard is too busy. Retry shortly.")
    if judgement.scores is None:
        log.warning("guard_failed", guard=judgement.guard, version=judgement.version)
        raise GuardFailed("The guard could not judge a passage.")
    return judgement.scores


def _result(scores: Scores) -> AnsweredScores:
    spans = tuple(AnsweredSpan(start=s.start, end=s.end, category=s.category) for s in scores.spans)
    return AnsweredScores(scores=dict(scores.by_category), spans=spans)


async def _unexpected(_request: Request, _error: Exception) -> Response:
    return respond(GateError("Something broke on our side. Retry, or tell the operator."))
