"""From a parsed request to a response: an error before the gate opens is an HTTP status, after it an SSE event."""

from asyncio import CancelledError
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Final, Protocol, TypeVar

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.api.body import JsonResponse
from service.api.deps import Api
from service.api.errors import document
from service.api.sse import DONE, EventStream, event, while_connected
from service.gate.exchange import Asked, Finished, GateError, Json, Release
from service.gate.pipeline import answer, embed

BROKEN: Final = "Something broke on our side; it was logged. Retry, or tell the operator."


T = TypeVar("T")


class Writer(Protocol):
    """How an endpoint writes what the gate releases: as events one by one, or added up to one document."""

    def opening(self) -> bytes: ...

    def event(self, release: Release) -> bytes: ...

    def closing(self) -> bytes:
        """The end of a stream that went well."""
        return DONE

    def failure(self, error: Json) -> bytes:
        """The end of a stream that broke off."""
        return event(error)

    def add(self, release: Release) -> None: ...

    def document(self) -> Json: ...


async def until_left(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client leaves. Raises ClientDisconnect then."""
    async with while_connected(request.receive):
        return await work
    request.state.outcome = "client_left"
    raise ClientDisconnect


async def embedded(api: Api, request: Request, asked: Asked) -> Response:
    """Answers one request for vectors. Raises GateError, ClientDisconnect."""
    request.state.exchange_id, request.state.outcome = asked.id, "completed"
    structlog.contextvars.bind_contextvars(exchange_id=asked.id)
    return JsonResponse(await until_left(request, embed(api.gate, asked, request.state.caller)))


async def relay(api: Api, request: Request, asked: Asked, writer: Writer) -> Response:
    """Answers one request.

    Raises:
        GateError: before anything was sent.
        ClientDisconnect: the client left; the record is kept.
    """
    request.state.exchange_id, request.state.outcome = asked.id, "completed"
    structlog.contextvars.bind_contextvars(exchange_id=asked.id)
    releases = answer(api.gate, asked, request.state.caller)
    async with while_connected(request.receive):
        await anext(releases)
        if asked.stream:
            return EventStream(_events(request, releases, writer), releases, api.settings.keepalive_s)
        async with aclosing(releases):
            async for release in releases:
                _note(request, release)
                writer.add(release)
        return JsonResponse(writer.document())
    request.state.outcome = "client_left"
    raise ClientDisconnect


async def _events(
    request: Request, releases: AsyncGenerator[Release, None], writer: Writer
) -> AsyncGenerator[bytes, None]:
    try:
        yield writer.opening()
        async for release in releases:
            _note(request, release)
            if chunk := writer.event(release):
                yield chunk
        yield writer.closing()
    except GateError as error:
        request.state.outcome = error.code
        yield writer.failure(document(error))
    except (GeneratorExit, CancelledError):
        request.state.outcome = "client_left"
        raise
    except Exception as error:  # the client must read an end whatever broke
        structlog.get_logger().error("unexpected", exc_info=error)
        request.state.outcome = GateError.code
        yield writer.failure(document(GateError(BROKEN)))


def _note(request: Request, release: Release) -> None:
    if isinstance(release, Finished) and release.finish_reason == "content_filter":
        request.state.outcome = "content_filter"
