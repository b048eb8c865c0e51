"""The OpenAPI document: every route with examples, every status it can answer, and no other."""

from typing import Any, Final, get_args

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel

from service.api.appeals import AppealRequest
from service.api.body import JSON_LINES, BadRequest
from service.api.embeddings import EmbeddingsRequest
from service.api.errors import Denied, RateLimited, document
from service.api.explain import ExplainRequest
from service.api.feedback import FeedbackRequest
from service.api.learning import DatasetRequest, ModelRequest, RollbackRequest, RunRequest, StageRequest
from service.api.moderations import ModerationRequest
from service.api.response_schemas import ResponsesRequest
from service.api.review import (
    ClaimRequest,
    DecideRequest,
    ItemsRequest,
    NextRequest,
    RevealRequest,
    SkipRequest,
    UndoRequest,
)
from service.api.schemas import ChatRequest, CompletionRequest
from service.gate.exchange import EngineUnavailable, GateError, GuardUnavailable, Json, Overloaded, Refused
from service.review.appeals import Status

REQUESTS: Final = (
    ChatRequest, CompletionRequest, ResponsesRequest, EmbeddingsRequest, ModerationRequest, ExplainRequest,
    FeedbackRequest, AppealRequest, NextRequest, RevealRequest, DecideRequest, UndoRequest, SkipRequest, ClaimRequest,
    ItemsRequest,
    DatasetRequest, RunRequest, ModelRequest, StageRequest, RollbackRequest
)  # fmt: skip
Responses = dict[int | str, dict[str, Any]]  # FastAPI's
REF: Final = "#/components/schemas/"
ABOUT: Final = """An OpenAI-compatible API in front of a language model whose input and output are judged.

Text that the policy refuses never leaves: a refused input is HTTP 400 with code `content_filter`; a refused output ends
with finish_reason `content_filter`. Every answer carries its exchange's id in the header `x-sluicegate-exchange`."""

_REFUSED = Refused("exc_0f3a", "input", ("harm",), "default")
EXAMPLES: Final[dict[int, tuple[str, dict[str, GateError]]]] = {
    400: (
        "The policy refused the input, or the request is wrong; `param` names the field",
        {
            "refused": _REFUSED,
            "unsupported field": BadRequest("The field 'echo' is not supported.", "echo", code="unsupported_field"),
        },
    ),
    401: ("No key, or an unknown one", {"no key": Denied("No API key. Send it as: Authorization: Bearer KEY")}),
    403: ("The key's role may not do this", {"role": Denied("A key of role moderator may not do this.", 403)}),
    404: (
        "Unknown model, version, exchange, appeal or item",
        {
            "model": BadRequest("There is no model 'x'.", "model", 404, "model_not_found"),
            "record": BadRequest("There is no exchange 'x' of yours on record.", None, 404, "not_found"),
        },
    ),
    409: (
        "It cannot be done as things are; the message says why",
        {"conflict": BadRequest("Nothing of this exchange was held back.", None, 409, "conflict")},
    ),
    413: ("The body is too long", {"long": BadRequest("The body is too long.", None, 413, "body_too_long")}),
    415: ("The body is not JSON in UTF-8", {"form": BadRequest("Send JSON.", None, 415, "not_json")}),
    429: ("Too many requests; see Retry-After", {"rate": RateLimited(600, 12), "overload": Overloaded()}),
    503: (
        "A guard, the engine or the ledger is unavailable; retry after Retry-After seconds",
        {"guard": GuardUnavailable("A guard could not judge the input."), "engine": EngineUnavailable("No engine.")},
    ),
}


def errors(*statuses: int) -> Responses:
    """FastAPI's `responses` for error statuses."""
    return {status: _error(status) for status in statuses}


def _error(status: int) -> Json:
    description, examples = EXAMPLES[status]
    values = {name: {"value": document(error)} for name, error in examples.items()}
    found: Json = {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": REF + "Error"}, "examples": values}},
    }
    if status in (429, 503):
        found["headers"] = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "string"}}}
    return found


READ_FAILS: Final = errors(401, 403, 404, 429, 503)
ASKED_FAILS: Final = errors(400, 401, 403, 429, 503)
SAID_FAILS: Final = errors(400, 401, 403, 404, 409, 413, 415, 429, 503)
LINES: Final[Responses] = {200: {"description": "One JSON object a line", "content": {JSON_LINES: {"schema": {}}}}}


def success(schema: str, example: Json, stream: bool = False) -> Responses:
    """FastAPI's `responses` for 200: a document of a named schema, or events too."""
    content: Json = {"application/json": {"schema": {"$ref": REF + schema}, "example": example}}
    if stream:
        one = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}  # each event
        content["text/event-stream"] = {"schema": one, "example": "data: {...}\n\ndata: [DONE]\n\n"}
    return {200: {"description": "OK", "content": content}}


def request_body(model: type[BaseModel], examples: dict[str, Json]) -> Json:
    """FastAPI's `openapi_extra` for a body that we read ourselves."""
    values = {name: {"value": value} for name, value in examples.items()}
    schema = {"$ref": REF + model.__name__}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "examples": values}}}}


def _object(required: dict[str, Json], **optional: Json) -> Json:
    return {"type": "object", "required": list(required), "properties": required | optional}


_STRING: Final[Json] = {"type": "string"}
_MAYBE: Final[Json] = {"type": ["string", "null"]}
_LIST: Final[Json] = {"type": "array", "items": {"type": "object"}}
_ANSWER: Final[Json] = _object(
    {
        "id": _STRING,
        "object": _STRING,
        "created": {"type": "integer"},
        "model": _STRING,
        "choices": _LIST,
        "usage": {"type": ["object", "null"]},
    }
)
_REFUSAL: Final[Json] = _object(
    {"exchange_id": _STRING, "stage": _STRING, "categories": {"type": "array"}, "policy": _STRING, "appeal": _STRING}
)
_ITEM: Final[Json] = _object(
    {"object": {"const": "review.item"}, "id": _STRING, "exchange_id": _STRING, "queue": _STRING, "why": _STRING}
    | {"state": _STRING, "category": _MAYBE, "categories": {"type": "array"}, "tenant": _STRING, "outcome": _STRING}
    | {"parts": _LIST, "deliveries": _LIST, "said": {"type": "object"}}
    | {"verdicts": {"type": ["array", "null"], "items": {"type": "object"}}}
)
_VERSION: Final[Json] = _object(
    {"object": {"const": "learning.model"}, "id": _STRING, "kind": _STRING, "name": _STRING, "version": _STRING}
    | {"digest": _STRING, "folder": _STRING, "parent": _MAYBE, "run": _MAYBE, "datasets": {"type": "array"}}
    | {"metrics": {"type": "object"}, "gates": {"type": "object"}, "card": _STRING, "at": {"type": "number"}}
    | {"by": _STRING, "stage": _STRING, "since": {"type": "number"}, "share": {"type": ["number", "null"]}}
    | {"keys": {"type": "array"}, "history": _LIST}
)
SCHEMAS: Final[Json] = {
    "Error": _object(
        {"error": _object({"message": _STRING, "type": _STRING, "param": _MAYBE, "code": _STRING}, sluicegate=_REFUSAL)}
    ),
    "ChatCompletion": _ANSWER,
    "Completion": _ANSWER,
    "Response": _object(
        {"id": _STRING, "object": {"const": "response"}, "created_at": {"type": "integer"}, "status": _STRING}
        | {"model": _STRING, "output": _LIST, "usage": {"type": ["object", "null"]}}
    ),
    "Embeddings": _object({"object": {"const": "list"}, "data": _LIST, "model": _STRING, "usage": {"type": "object"}}),
    "Moderations": _object({"id": _STRING, "model": _STRING, "results": _LIST}),
    "Explanation": _object(
        {"policy": {"type": "object"}, "input": {"type": "object"}, "parts": _LIST},
        output={"type": ["object", "null"]},
    ),
    "Guards": _object({"object": {"const": "list"}, "data": _LIST}),
    "Model": _object(
        {"id": _STRING, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": _STRING}
    ),
    "Models": _object({"object": {"const": "list"}, "data": {"type": "array", "items": {"$ref": REF + "Model"}}}),
    "Coverage": _object(
        {
            "policy": {"type": "object"},
            "guards": _LIST,
            "languages": {"type": "object"},
            "streaming": _STRING,
            "cells": _LIST,
            "beside": _LIST,
        }
    ),
    "Feedback": _object({"id": _STRING, "object": {"const": "feedback"}, "exchange_id": _STRING, "kind": _STRING}),
    "Appeal": _object(
        {"id": _STRING, "object": {"const": "appeal"}, "exchange_id": _STRING, "created_at": {"type": "integer"}}
        | {"status": {"enum": list(get_args(Status))}, "decided_at": {"type": ["integer", "null"]}}
    ),
    "ReviewCounts": _object({"object": {"const": "list"}, "data": _LIST}),
    "ReviewItem": _ITEM,
    "ReviewClaim": _object(
        {"object": {"const": "review.claim"}, "token": _MAYBE, "leased_until": {"type": ["number", "null"]}}
        | {"item": {"oneOf": [{"$ref": REF + "ReviewItem"}, {"type": "null"}]}}
    ),
    "ReviewItemsAsked": _object({"object": {"const": "list"}, "data": _LIST}),
    "ReviewDone": _object(
        {"object": {"const": "review.done"}},
        decision_id=_STRING,
        undo_s={"type": "number"},
        leased_until={"type": "number"},
    ),
    "Datasets": _object({"object": {"const": "list"}, "data": _LIST}),
    "LearningDone": _object({"object": _STRING, "id": _STRING}, state=_STRING),
    "LearnedModel": _VERSION,
    "LearnedModels": _object({"object": {"const": "list"}, "data": _LIST}),
    "Rollback": _object(
        {"object": {"const": "learning.rollback"}, "name": _STRING, "model": _MAYBE, "replaced": _STRING}
    ),
    "Shadow": _object(
        {"object": {"const": "learning.shadow"}, "id": _STRING, "against": _MAYBE, "exchanges": {"type": "integer"}}
        | {"since": {"type": ["number", "null"]}, "categories": _LIST}
    ),
    "Health": _object({"status": _STRING}, engine={"enum": ["up", "down"]}),
}


def describe(app: FastAPI) -> Json:
    """The document, made once."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, description=ABOUT, routes=app.routes)
        schemas = dict(SCHEMAS)
        for model in REQUESTS:
            schema = model.model_json_schema(ref_template=REF + "{model}")
            for name, found_here in (schema.pop("$defs", {}) | {model.__name__: schema}).items():
                if schemas.setdefault(name, found_here) != found_here:
                    raise ValueError(f"two schemas are called {name}")
        found["components"] = {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        }
        found["security"] = [{"key": []}]
        for route in app.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                for method in route.methods:
                    operation = found["paths"][route.path_format][method.lower()]
                    # as they were written: FastAPI takes each null out of an example
                    operation["responses"] = {str(status): said for status, said in route.responses.items()}
                    operation |= route.openapi_extra or {}
                    if route.path_format.startswith("/health/"):
                        operation["security"] = []
        app.openapi_schema = found
    return app.openapi_schema
