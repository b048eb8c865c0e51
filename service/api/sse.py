"""Server-sent events: bytes rendered once, a comment when nothing was sent for long, an end when the client leaves."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

import anyio
import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.gate.exchange import Json

DONE: Final = b"data: [DONE]\n\n"
KEEPALIVE: Final = b": still judging\n\n"


def event(document: Json) -> bytes:
    return b"data: " + orjson.dumps(document) + b"\n\n"


class Template:
    """Chunks of one stream differ in `choices` only: the rest is rendered once."""

    def __init__(self, head: Json, include_usage: bool) -> None:
        self._head = b"data: " + orjson.dumps(head)[:-1] + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"

    def chunk(self, choice: Json) -> bytes:
        return self._head + orjson.dumps(choice) + self._tail

    def usage(self, tokens: Json) -> bytes:
        return self._head + b'],"usage":' + orjson.dumps(tokens) + b"}\n\n"


@asynccontextmanager
async def while_connected(receive: Receive) -> AsyncIterator[anyio.CancelScope]:
    """Cancels its block at once when the client leaves; `cancelled_caught` of the scope says whether it did."""
    with anyio.CancelScope() as scope:
        watch = asyncio.create_task(_cancel_when_left(receive, scope))
        try:
            yield scope
        finally:
            watch.cancel()


async def _cancel_when_left(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


class EventStream(Response):
    """Sends `chunks` as they come, which are made from `source`; closes both at once when the client leaves.

    starlette's own leaves a suspended generator to the garbage collector.
    """

    media_type = "text/event-stream"

    def __init__(
        self, chunks: AsyncGenerator[bytes, None], source: AsyncGenerator[Any, None], silence_s: float
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"x-accel-buffering": "no"})
        self._chunks, self._source, self._silence_s = chunks, source, silence_s
        self._sent_at, self._sending = time.monotonic(), False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._source), aclosing(self._chunks) as chunks, while_connected(receive):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            keeper = asyncio.create_task(self._keep_alive(send))
            try:
                async for chunk in chunks:
                    self._sending = True
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    self._sending, self._sent_at = False, time.monotonic()
            finally:
                keeper.cancel()
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _keep_alive(self, send: Send) -> None:
        while True:
            silent_s = time.monotonic() - self._sent_at
            if silent_s >= self._silence_s and not self._sending:
                await send({"type": "http.response.body", "body": KEEPALIVE, "more_body": True})
                self._sent_at, silent_s = time.monotonic(), 0
            await asyncio.sleep(max(self._silence_s - silent_s, self._silence_s / 4))
