"""JSON in and out: a request's body within its limits, a response's in one pass."""

import asyncio
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.gate.exchange import GateError

JSON: Final = "application/json"
JSON_LINES: Final = "application/x-ndjson"
BODY_S: Final = 30.0  # a body that comes by drops would hold a connection and what was read of it
LARGE_BYTES: Final = 200_000  # parsed off the event loop: objects by the hundred thousand take a third of a second


class BadRequest(GateError):
    """The request itself is wrong. `param` is the field, as a path into the body."""

    code = "invalid_request_error"

    def __init__(self, message: str, param: str | None = None, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.param, self.status, self.code = param, status, code or type(self).code


class JsonResponse(Response):
    """A document as JSON bytes."""

    media_type = JSON

    def __init__(self, document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(orjson.dumps(document), status, headers)


class JsonLines(Response):
    """One document a line."""

    media_type = JSON_LINES

    def __init__(self, documents: Iterable[object]) -> None:
        super().__init__(b"".join(orjson.dumps(document) + b"\n" for document in documents))


async def read(request: Request, most_bytes: int, within_s: float = BODY_S) -> object:
    """The JSON document that a client sent.

    Raises:
        BadRequest: 415 not JSON in UTF-8, 413 longer than `most_bytes`, 408 not here in time, 400 malformed.
    """
    kind, _, options = request.headers.get("content-type", "").partition(";")
    charset = options.partition("charset=")[2].strip(' "').lower() or "utf-8"
    if kind.strip().lower() != JSON or charset not in ("utf-8", "utf8") or "content-encoding" in request.headers:
        raise BadRequest(f"Send the body as plain UTF-8 with content-type: {JSON}.", status=415, code="not_json")
    body = bytearray()
    try:
        async with asyncio.timeout(within_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most_bytes:
                    message = f"The body is longer than {most_bytes} bytes. Send less, or in several requests."
                    raise BadRequest(message, status=413, code="body_too_long")
    except TimeoutError:
        message = f"The body was not here within {within_s:.0f} seconds. Send it at once."
        raise BadRequest(message, status=408, code="body_too_slow") from None
    if len(body) > LARGE_BYTES:
        return await asyncio.to_thread(parse, bytes(body))
    return parse(bytes(body))


def parse(raw: bytes) -> object:
    """JSON as RFC 8259 means it: no NaN, no name twice, no half characters, nothing that cannot be written again.

    Raises:
        BadRequest: with the place of the fault where there is one.
    """
    try:
        document = json.loads(raw.decode(), object_pairs_hook=_once, parse_float=_finite, parse_constant=_refuse)
        orjson.dumps(document)  # refuses lone surrogates, integers over 64 bits, nesting over 254 levels
    except json.JSONDecodeError as error:
        raise _malformed(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError as error:
        raise _malformed(f"byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise _malformed("nested too deeply") from None
    except (ValueError, TypeError) as error:
        raise _malformed(str(error)) from None
    return document


def _malformed(why: str) -> BadRequest:
    return BadRequest(f"The body is not valid JSON: {why}.", code="malformed_json")


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, value in pairs:
        if name in document:
            raise ValueError("a name occurs twice in one object")
        document[name] = value
    return document


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
