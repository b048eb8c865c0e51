"""Every route of the API. All of them pass `authorize`, which is closed by default."""

from importlib.metadata import version
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import ValidationError
from starlette.responses import Response

from service.api import chat, completions, errors, examples, models
from service.api.access import Access
from service.api.auth import authorize
from service.api.body import JsonResponse, read
from service.api.coverage import coverage
from service.api.deps import Api
from service.api.openapi import describe, request_body, success
from service.api.openapi import errors as fails
from service.api.relay import relay
from service.api.schemas import ChatRequest, CompletionRequest

Responses = dict[int | str, dict[str, Any]]
Body = TypeVar("Body", ChatRequest, CompletionRequest)


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
    app.include_router(_reading(api))
    app.include_router(_operating(app, api))
    return app


async def _parsed(api: Api, request: Request, model: type[Body]) -> Body:
    payload = await read(request, api.settings.max_body_bytes)
    try:
        return model.model_validate(payload)
    except ValidationError as error:
        raise errors.fault(error.errors(include_url=False, include_input=False), payload) from None


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
        parsed = await _parsed(api, request, ChatRequest)
        asked = chat.asked(parsed)
        return await relay(api, request, asked, chat.ChatWriter(asked, parsed.include_usage))

    @router.post(
        "/completions",
        summary="Continue a text",
        responses=success("Completion", examples.COMPLETION, stream=True) | fail,
        openapi_extra=request_body(CompletionRequest, examples.COMPLETION_REQUESTS),
    )
    async def text_completions(request: Request) -> Response:
        parsed = await _parsed(api, request, CompletionRequest)
        asked = completions.asked(parsed)
        return await relay(api, request, asked, completions.CompletionWriter(asked, parsed.include_usage))

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
        "/coverage",
        summary="What is judged, by which guards, under the policy of the key",
        responses=success("Coverage", examples.COVERAGE) | fails(401, 403, 429),
    )
    async def show_coverage(request: Request) -> Response:
        return JsonResponse(coverage(api.gate.policy(request.state.caller), api.guards()))

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
        summary="An exchange would succeed now",
        responses=success("Health", {"status": "ok"}) | unready,
    )
    async def ready() -> Response:
        up = await api.ready()
        return JsonResponse({"status": "ok" if up else "unavailable"}, 200 if up else 503)

    @router.get("/metrics", summary="Prometheus metrics", responses=text | fails(401, 403))
    async def metrics() -> Response:
        return PlainTextResponse(api.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return JsonResponse(describe(app))

    return router
