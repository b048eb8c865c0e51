"""Every route of the API. All of them pass `authorize`, which is closed by default."""

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from service.api import chat, completions, embeddings, errors, examples, guards, models, responses
from service.api.access import Access
from service.api.auth import OPERATES, authorize
from service.api.body import JsonResponse
from service.api.coverage import coverage
from service.api.deps import Api
from service.api.embeddings import EmbeddingsRequest
from service.api.explain import ExplainRequest, explain
from service.api.moderations import ModerationRequest, moderate
from service.api.openapi import describe, request_body, success
from service.api.openapi import errors as fails
from service.api.parsed import body_of
from service.api.promoting import exporting, learned, promoting
from service.api.relay import embedded, relay, until_left
from service.api.response_schemas import ResponsesRequest
from service.api.response_writer import ResponsesWriter
from service.api.reviewing import looking_again, reviewing
from service.api.schemas import ChatRequest, CompletionRequest
from service.api.scored import scoring
from service.api.selecting import selecting

Responses = dict[int | str, dict[str, Any]]


def create_api(api: Api) -> FastAPI:
    """The ASGI application. It holds no state of its own but the rate limits."""
    app = FastAPI(
        title="Sluicegate",
        version=version("sluicegate"),
        openapi_url=None,  # ours is closed like every other route
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(authorize(api))],
    )
    app.add_middleware(Access, metrics=api.metrics)
    errors.install(app)
    app.include_router(_generating(api))
    app.include_router(_judging(api))
    app.include_router(looking_again(api))
    app.include_router(reviewing(api))
    for learn in (exporting, selecting, scoring, learned, promoting):
        app.include_router(learn(api))
    app.include_router(_reading(api))
    app.include_router(_operating(app, api))
    return app


def _generating(api: Api) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["generate"])
    fail = fails(400, 401, 403, 404, 413, 415, 429, 503)

    @router.post(
        "/chat/completions",
        summary="Answer a conversation",
        responses=success("ChatCompletion", examples.CHAT, stream=True) | fail,
        openapi_extra=request_body(ChatRequest, examples.CHAT_REQUESTS),
    )
    async def chat_completions(request: Request) -> Response:
        parsed = await body_of(api, request, ChatRequest)
        asked = chat.asked(parsed)
        return await relay(api, request, asked, chat.ChatWriter(asked, parsed.include_usage))

    @router.post(
        "/completions",
        summary="Continue a text",
        responses=success("Completion", examples.COMPLETION, stream=True) | fail,
        openapi_extra=request_body(CompletionRequest, examples.COMPLETION_REQUESTS),
    )
    async def text_completions(request: Request) -> Response:
        parsed = await body_of(api, request, CompletionRequest)
        asked = completions.asked(parsed)
        return await relay(api, request, asked, completions.CompletionWriter(asked, parsed.include_usage))

    @router.post(
        "/responses",
        summary="Answer items",
        responses=success("Response", examples.RESPONSE, stream=True) | fail,
        openapi_extra=request_body(ResponsesRequest, examples.RESPONSES_REQUESTS),
    )
    async def create_response(request: Request) -> Response:
        parsed = await body_of(api, request, ResponsesRequest)
        asked = responses.asked(parsed)
        return await relay(api, request, asked, ResponsesWriter(asked, parsed))

    @router.post(
        "/embeddings",
        summary="Turn texts into vectors, where the engine's model does",
        responses=success("Embeddings", examples.EMBEDDINGS) | fail,
        openapi_extra=request_body(EmbeddingsRequest, examples.EMBEDDINGS_REQUESTS),
    )
    async def create_embeddings(request: Request) -> Response:
        return await embedded(api, request, embeddings.asked(await body_of(api, request, EmbeddingsRequest)))

    return router


def _judging(api: Api) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["judge"])
    fail = fails(400, 401, 403, 413, 415, 429, 503)

    @router.post(
        "/moderations",
        summary="Judge texts or a conversation by the policy of the key",
        responses=success("Moderations", examples.MODERATIONS) | fail,
        openapi_extra=request_body(ModerationRequest, examples.MODERATION_REQUESTS),
    )
    async def create_moderations(request: Request) -> Response:
        parsed = await body_of(api, request, ModerationRequest)
        return JsonResponse(await until_left(request, moderate(api.gate, parsed, request.state.caller)))

    @router.post(
        "/explain",
        summary="Which guard says what of which part, and what the policy of the key makes of it",
        responses=success("Explanation", examples.EXPLANATION) | fail,
        openapi_extra=request_body(ExplainRequest, examples.EXPLAIN_REQUESTS),
    )
    async def explain_texts(request: Request) -> Response:
        parsed = await body_of(api, request, ExplainRequest)
        return JsonResponse(await until_left(request, explain(api.gate, parsed, request.state.caller)))

    return router


def _reading(api: Api) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["read"])

    @router.get(
        "/models",
        summary="The models served",
        responses=success("Models", examples.MODELS) | fails(401, 403, 429, 503),
    )
    async def list_models() -> Response:
        return JsonResponse(await models.every(api.gate.engine))

    @router.get(
        "/models/{model:path}",
        summary="One model",
        responses=success("Model", examples.MODEL) | fails(401, 403, 404, 429, 503),
    )
    async def one_model(model: str) -> Response:
        return JsonResponse(await models.one(api.gate.engine, model))

    @router.get(
        "/guards",
        summary="The guards that are loaded",
        responses=success("Guards", examples.GUARDS) | fails(401, 403, 429),
    )
    async def list_guards() -> Response:
        return JsonResponse(guards.listed(api.guards()))

    @router.get(
        "/coverage",
        summary="What is judged, by which guards, under the policy of the key",
        responses=success("Coverage", examples.COVERAGE) | fails(401, 403, 429),
    )
    async def show_coverage(request: Request) -> Response:
        caller = request.state.caller
        learned = [one for one in api.learned() if caller.role in OPERATES or one["stage"] == "enforced"]
        return JsonResponse(coverage(api.gate.policy(caller), api.guards(), api.told(caller), learned))

    return router


def _operating(app: FastAPI, api: Api) -> APIRouter:
    router = APIRouter(tags=["operate"])
    text: Responses = {
        200: {"description": "Prometheus' text format", "content": {"text/plain": {"schema": {"type": "string"}}}}
    }
    unready: Responses = {
        503: {"description": "Not ready", "content": {"application/json": {"schema": {"type": "object"}}}}
    }

    @router.get("/health/live", summary="The process runs", responses=success("Health", {"status": "ok"}))
    async def live() -> Response:
        return JsonResponse({"status": "ok"})

    @router.get(
        "/health/ready",
        summary="Exchanges can be judged and recorded; whether an engine answers is told beside",
        responses=success("Health", {"status": "ok", "engine": "up"}) | unready,
    )
    async def ready() -> Response:
        ready, engine = api.ready(), "up" if api.engine_up() else "down"
        return JsonResponse({"status": "ok" if ready else "unavailable", "engine": engine}, 200 if ready else 503)

    @router.get("/metrics", summary="Prometheus metrics", responses=text | fails(401, 403, 429))
    async def metrics() -> Response:
        return PlainTextResponse(api.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return JsonResponse(describe(app))

    return router
