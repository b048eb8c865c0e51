"""A paced engine as a process of its own, so that it can be killed and stopped like the real one.

    python -m tests.faults.engine PORT

Every answer holds a card number, which no client may ever read.
"""

import asyncio
import json
import sys

from aiohttp import web

CARD = "4111 1111 1111 1111"
TEXT = f"Certainly. Here is a card number, {CARD}, and after it comes a good deal of text that says little. "
PAUSE_S = 0.01


async def chat(request: web.Request) -> web.StreamResponse:
    await request.json()
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for i in range(0, len(TEXT), 5):
        await response.write(chunk({"content": TEXT[i : i + 5]}, None))
        await asyncio.sleep(PAUSE_S)
    await response.write(chunk({}, "stop") + b"data: [DONE]\n\n")
    return response


def chunk(delta: dict, finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return (
        b"data: " + json.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n"
    )


async def models(_: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [{"id": "m", "object": "model"}]})


async def health(_: web.Request) -> web.Response:
    return web.Response()


async def main(port: int) -> None:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/health", health)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("listens", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
