"""An engine's end of the wire for tests of several engines: real HTTP, and it can be stopped, started and broken."""

import asyncio
import json

from aiohttp import web


class Wire:
    """Says `says` in pieces of five characters, `pause_s` apart, then ends as `then` says."""

    def __init__(self, says="Hello.", pause_s=0.0, then="end", host="127.0.0.1", port=0) -> None:
        self.says, self.pause_s, self.then, self.host, self.port = says, pause_s, then, host, port
        self.asked: list[dict] = []
        self.headers: list[dict[str, str]] = []
        self.open = 0
        self._runner: web.AppRunner | None = None

    @property
    def name(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.name}"

    async def __aenter__(self) -> "Wire":
        await self.start()
        return self

    async def __aexit__(self, *_) -> None:
        await self.stop()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(app, shutdown_timeout=0.05, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=500 if self.then == "refuse" else 200)

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "m", "object": "model"}]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        self.headers.append(dict(request.headers))
        if self.then.isdigit():
            return web.json_response({"error": {"message": "no", "code": int(self.then)}}, status=int(self.then))
        if self.then in ("refuse", "break at once"):
            request.transport.abort()
            await asyncio.sleep(1)
        self.open += 1
        try:
            return await self._answer(request)
        finally:
            self.open -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for i in range(0, len(self.says), 5):
            await asyncio.sleep(self.pause_s)
            await response.write(_chunk({"content": self.says[i : i + 5]}, None))
        if self.then == "break":
            await asyncio.sleep(0.02)
            request.transport.abort()
        await response.write(_chunk({}, "stop") + b"data: [DONE]\n\n")
        return response


def _chunk(delta: dict, finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"
