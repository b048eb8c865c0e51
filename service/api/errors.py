"""What a client reads when something is wrong: OpenAI's error shape, a status, and what to do next."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

import structlog
from fastapi import FastAPI, Request
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from service.api.body import BadRequest, JsonResponse
from service.gate.exchange import (
    EngineRejected,
    EngineUnavailable,
    GateError,
    GuardUnavailable,
    Json,
    LedgerUnavailable,
    Overloaded,
    Refused,
)

APPEAL: Final = (
    "If this is a mistake: POST /v1/appeals with this exchange_id and a statement; a person will look at it."
)
RETRY_AFTER_S: Final = 1
_ROUND: Final = "It goes round the gate."
UNSUPPORTED: Final[Mapping[str, str]] = {
    "add_generation_prompt": _ROUND,
    "allowed_token_ids": "It steers tokens past the guards.",
    "background": "Wait for the answer, or stream it: nothing is stored that could be fetched later.",
    "audio": "Audio cannot be judged. Ask for text.",
    "best_of": "Use n.",
    "chat_template": _ROUND,
    "chat_template_kwargs": _ROUND,
    "continue_final_message": _ROUND,
    "conversation": "Nothing is stored: send the earlier turns with the request.",
    "documents": "Send retrieved documents as tool messages: they are judged there.",
    "echo": "It would return text that was not judged as an answer. Prepend the prompt yourself.",
    "extra_body": "Send its fields at the top level.",
    "function_call": "Use tool_choice.",
    "functions": "Use tools.",
    "guided_json": "Use response_format with json_schema.",
    "include": "Nothing is added to an answer.",
    "input_ids": "Send text.",
    "logit_bias": "It steers tokens past the guards.",
    "metadata": "Keep it on your side, with the exchange id from the x-sluicegate-exchange header.",
    "mm_processor_kwargs": "Only text can be judged.",
    "modalities": "Only text can be judged.",
    "prediction": "Leave it out.",
    "previous_response_id": "Nothing is stored: send the earlier items in input.",
    "prompt_embeds": "Embeddings cannot be judged. Send text.",
    "prompt_logprobs": "It would return text that was not judged.",
    "prompt_token_ids": "Token ids cannot be judged. Send text.",
    "return_token_ids": "Token ids leave no text to judge.",
    "stop_token_ids": "Use stop.",
    "store": "Leave it out: what is kept is the policy's decision, and no answer can be fetched later.",
    "suffix": "Put it into the prompt.",
    "tenant": "The key says who asks.",
}


_CHAT: Final = "Use POST /v1/chat/completions or POST /v1/responses."
_TOKENS: Final = "Token ids leave no text to judge. Count tokens by the usage of an answer."
_NONE: Final = "It is not offered: nothing judges it."
ELSEWHERE: Final[Mapping[str, str]] = {  # what an engine offers beside the judged routes; a path covers those under it
    "/v1/messages": _CHAT,
    "/v1/assistants": _CHAT,
    "/v1/threads": _CHAT,
    "/generate": _CHAT,
    "/inference/v1/generate": _CHAT,
    "/invocations": _CHAT,
    "/cohere": _CHAT,
    "/v1/chat/completions": "Nothing is stored and no batches are taken: use POST /v1/chat/completions.",
    "/v1/completions": "Use POST /v1/completions.",
    "/v1/responses": "Nothing is stored that could be fetched, changed or cancelled: use POST /v1/responses.",
    "/v1/conversations": "Nothing is stored: send the earlier turns with POST /v1/responses.",
    "/tokenize": _TOKENS,
    "/detokenize": _TOKENS,
    "/v1/tokenize": _TOKENS,
    "/v1/detokenize": _TOKENS,
    "/tokenizer_info": _TOKENS,
    "/pooling": "Use POST /v1/embeddings.",
    "/v1/pooling": "Use POST /v1/embeddings.",
    "/v2/embed": "Use POST /v1/embeddings.",
    "/classify": "Use POST /v1/moderations.",
    "/v1/classify": "Use POST /v1/moderations.",
    "/generative_scoring": "Compare vectors of POST /v1/embeddings.",
    "/score": "Compare vectors of POST /v1/embeddings.",
    "/v1/score": "Compare vectors of POST /v1/embeddings.",
    "/rerank": "Compare vectors of POST /v1/embeddings.",
    "/v1/rerank": "Compare vectors of POST /v1/embeddings.",
    "/v2/rerank": "Compare vectors of POST /v1/embeddings.",
    "/v1/audio": f"Audio cannot be judged. {_CHAT}",
    "/v1/realtime": f"Audio cannot be judged. {_CHAT}",
    "/v1/images": f"Images cannot be judged. {_CHAT}",
    "/v1/videos": f"Video cannot be judged. {_CHAT}",
    "/v1/files": f"Files cannot be judged. {_CHAT}",
    "/v1/batches": f"Batches are not taken. {_CHAT}",
    "/v1/load_lora_adapter": "Adapters are loaded by the operator, at the engine.",
    "/v1/unload_lora_adapter": "Adapters are loaded by the operator, at the engine.",
    "/health": "Use GET /health/live or GET /health/ready.",
    "/ping": "Use GET /health/live or GET /health/ready.",
    "/version": "The version is in GET /openapi.json.",
    "/docs": "The routes are in GET /openapi.json.",
    "/v1/fine_tuning": _NONE,
}


class Denied(GateError):
    """No key, a wrong one (401), or one without the right (403)."""

    def __init__(self, message: str, status: int = 401) -> None:
        super().__init__(message)
        self.status = status
        self.code = "invalid_api_key" if status == 401 else "permission_denied"


class RateLimited(GateError):
    """More requests than the key may send, or more wrong keys than an address may."""

    code = "rate_limit_exceeded"
    retryable = True

    def __init__(self, per_minute: int, retry_after_s: int, what: str = "requests") -> None:
        super().__init__(f"More than {per_minute} {what} a minute. Retry in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


TYPES: Final[Mapping[int, str]] = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def status_of(error: GateError) -> int:
    match error:
        case BadRequest() | Denied():
            return error.status
        case Overloaded() | RateLimited():
            return 429
        case GuardUnavailable() | EngineUnavailable() | LedgerUnavailable():
            return 503
        case EngineRejected():
            return 404 if error.status == 404 else 400
        case Refused():
            return 400
    return 500


def document(error: GateError) -> Json:
    """The body of an error; the same object is the data of an SSE error event."""
    status = status_of(error)
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    body: Json = {"message": str(error), "type": kind, "param": getattr(error, "param", None), "code": error.code}
    if isinstance(error, Refused):
        body["sluicegate"] = {
            "exchange_id": error.exchange_id,
            "stage": error.stage,
            "categories": list(error.categories),
            "policy": error.policy,
            "appeal": APPEAL,
        }
    return {"error": body}


def respond(error: GateError) -> Response:
    headers: dict[str, str] = {}
    if error.retryable:
        headers["retry-after"] = str(getattr(error, "retry_after_s", RETRY_AFTER_S))
    if isinstance(error, Denied) and error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JsonResponse(document(error), status_of(error), headers)


def fault(errors: Sequence[ErrorDetails], payload: object) -> BadRequest:
    """The first fault that pydantic found, without what the client sent, and with what to do about the field."""
    first = errors[0]
    path = _path(first["loc"], payload, first["type"] == "missing")
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])
        hint = UNSUPPORTED.get(name, "The supported fields are in GET /openapi.json.")
        return BadRequest(f"The field {path!r} is not supported. {hint}", path, code="unsupported_field")
    code = "unsupported_modality" if first["type"] == "unsupported_modality" else None
    return BadRequest(f"{path or 'The body'}: {first['msg']}", path or None, code=code)


def _path(loc: tuple[int | str, ...], payload: object, missing: bool) -> str:
    """`messages[0].content` from pydantic's location, without the names of union branches."""
    path, node = "", payload
    for number, step in enumerate(loc):
        last_missing = missing and number == len(loc) - 1
        if isinstance(node, list) and isinstance(step, int):
            path, node = f"{path}[{step}]", node[step]
        elif isinstance(node, dict) and (step in node or last_missing):
            path, node = f"{path}.{step}" if path else str(step), node.get(step)
    return path


def _alternative(path: str) -> str:
    parents = (path.rsplit("/", cut)[0] for cut in range(path.count("/")))
    return next((ELSEWHERE[p] for p in parents if p in ELSEWHERE), "The routes are in GET /openapi.json.")


def install(app: FastAPI) -> None:
    """Every error of the app, unknown routes included, in the same shape."""

    async def gate_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, GateError)  # noqa: S101  registered for it
        request.scope["state"]["outcome"] = error.code
        return respond(error)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  registered for it
        message = f"There is no such route. {_alternative(request.url.path)}"
        if error.status_code != 404:
            message = f"{HTTPStatus(error.status_code).phrase}. The routes and methods are in GET /openapi.json."
        code = "not_found" if error.status_code == 404 else "method_not_allowed"
        response = respond(BadRequest(message, status=error.status_code, code=code))
        response.headers.update(error.headers or {})
        return response

    async def unexpected(_request: Request, error: Exception) -> Response:
        structlog.get_logger().error("unexpected", exc_info=error)
        return respond(GateError("Something broke on our side; it was logged. Retry, or tell the operator."))

    async def left(_request: Request, _error: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it; the number is for the log

    app.add_exception_handler(ClientDisconnect, left)
    app.add_exception_handler(GateError, gate_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, unexpected)
