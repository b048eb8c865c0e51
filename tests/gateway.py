"""The real gateway as a process of its own, and an engine's end of the wire for it to speak to."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import sqlalchemy as sa
from aiohttp import web
from sqlalchemy.orm import InstrumentedAttribute

from service.ledger.ledger import open_store
from service.ledger.models import Exchange, VerdictRow
from service.settings import Settings

KEY = "sg-client-of-a-test"
SLUICEGATE = Path(sys.executable).with_name("sluicegate")


@asynccontextmanager
async def wire(
    text: str | Callable[[str], str], cut: int = 5, pause_s: float = 0.003, model: str = "m"
) -> AsyncIterator[str]:
    """Answers every chat with `text`, or what that makes of the last message, in vLLM's format; yields its URL.

    Sends `cut` characters each `pause_s`.
    """

    async def chat(request: web.Request) -> web.StreamResponse:
        asked = (await request.json())["messages"][-1]["content"]
        said = text if isinstance(text, str) else text(asked)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for i in range(0, len(said), cut):
            await response.write(_chunk({"content": said[i : i + cut]}, None))
            await asyncio.sleep(pause_s)
        await response.write(_chunk({}, "stop") + b"data: [DONE]\n\n")
        return response

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": model, "object": "model"}]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _chunk(delta: dict, finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def environment(home: Path, **settings: str) -> dict[str, str]:
    """That of a gateway of its own, with known keys."""
    own = {"home": str(home), "client_key": KEY, "admin_key": KEY + "-admin", "log_level": "error"}
    own |= {"requests_per_minute": "1000000", "console": "false"}
    return os.environ | {f"SLUICEGATE_{name.upper()}": value for name, value in (own | settings).items()}


@asynccontextmanager
async def gateway(home: Path, **settings: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`sluicegate serve` on a free port, ready; its process and URL. Killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        SLUICEGATE, "serve", "--port", "0", env=environment(home, **settings), stderr=asyncio.subprocess.PIPE
    )
    said, log = b"", None
    try:
        while not (found := re.search(rb"is ready: (http://[\d.:]+)", said)):
            line = await process.stderr.readline()
            assert line, said.decode()
            said += line
        print(said.decode())
        log = asyncio.create_task(_log(process.stderr))  # a pipe that nobody reads fills, and the service waits
        yield process, found.group(1).decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if log:
            await asyncio.wait_for(log, 30)


async def _log(lines: asyncio.StreamReader) -> None:
    """Where pytest shows it when the test fails."""
    async for line in lines:
        print(line.decode(), end="")


async def streamed(session: aiohttp.ClientSession, url: str, asked: str) -> tuple[str, str, str]:
    """One stream: its exchange, its text, how it ended."""
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": asked}]}
    text, finish = "", ""
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        assert response.status == 200, await response.text()
        async for line in response.content:
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                assert "choices" in event, event
                for choice in event["choices"]:
                    text += choice["delta"].get("content") or ""
                    finish = choice["finish_reason"] or finish
        return response.headers["x-sluicegate-exchange"], text, finish


async def stored(home: Path, column: InstrumentedAttribute[str]) -> tuple[dict[str, Exchange], dict[str, set[str]]]:
    """Closed exchanges by id, and what their verdicts have in a column."""
    store = open_store(Settings(home=home))
    try:
        async with store.read() as session:
            exchanges = {e.id: e for e in await session.scalars(sa.select(Exchange))}
            found: dict[str, set[str]] = {}
            for exchange_id, value in await session.execute(sa.select(VerdictRow.exchange_id, column)):
                found.setdefault(exchange_id, set()).add(value)
        return exchanges, found
    finally:
        await store.close()
