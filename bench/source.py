"""A process in place of vLLM: streams chat chunks in vLLM's format at a fixed pace, and costs little.

python -m bench.source --pace 150     # chunks a second of each stream; prints its port
"""

import argparse
import asyncio
import time
from typing import Final

import orjson
from aiohttp import web

WORDS: Final = (
    "the",
    "river",
    "carries",
    "what",
    "it",
    "is",
    "given",
    "down",
    "to",
    "the",
    "wide",
    "and",
    "open",
    "sea",
)


def chunks(count: int) -> list[bytes]:
    """The events of one answer of `count` tokens: a role, the tokens, the finish, the usage, the end."""
    head = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1, "model": "bench"}

    def event(choices: list[dict[str, object]], **more: object) -> bytes:
        return b"data: " + orjson.dumps(head | {"choices": choices} | more) + b"\n\n"

    def choice(delta: dict[str, str], finish: str | None = None) -> list[dict[str, object]]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, "token_ids": None}]

    usage = {"prompt_tokens": 8, "completion_tokens": count, "total_tokens": count + 8}
    tokens = [event(choice({"content": " " + WORDS[i % len(WORDS)]})) for i in range(count)]
    return [
        event(choice({"role": "assistant", "content": ""})),
        *tokens,
        event(choice({}, "length")),
        event([], usage=usage),
        b"data: [DONE]\n\n",
    ]


class Source:
    def __init__(self, pace: float) -> None:
        self._gap_s = 1 / pace
        self._rendered: dict[int, list[bytes]] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        count = int(body["max_tokens"])
        events = self._rendered.setdefault(count, chunks(count))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        begun = time.perf_counter()
        for number, event in enumerate(events):
            await asyncio.sleep(max(0.0, begun + number * self._gap_s - time.perf_counter()))
            await response.write(event)
        return response

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "bench", "object": "model", "created": 1}]})

    async def health(self, _: web.Request) -> web.Response:
        return web.Response()


async def serve(pace: float) -> None:
    source = Source(pace)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", source.answer)
    app.router.add_get("/v1/models", source.models)
    app.router.add_get("/health", source.health)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pace", type=float, default=150.0, help="chunks a second of each stream")
    asyncio.run(serve(parser.parse_args().pace))
