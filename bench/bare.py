"""The least a relay can be in Python: raw ASGI and aiohttp on uvicorn, bytes in, bytes out. What ours is measured by.

python -m bench.bare --engine-url http://127.0.0.1:8000     # prints its port
"""

import argparse
from typing import Any

import aiohttp

from bench.asgi import run, start


def relay(session: aiohttp.ClientSession, engine_url: str) -> Any:
    """An ASGI app that passes every request's body on and the answer back, as they come."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {"Content-Type": "application/json"}
        async with session.post(engine_url + scope["path"], data=body, headers=headers) as response:
            start = [(b"content-type", response.content_type.encode())]
            await send({"type": "http.response.start", "status": response.status, "headers": start})
            async for chunk in response.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


async def serve(engine_url: str) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        await run(relay(session, engine_url))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine-url", required=True)
    parser.add_argument("--loop", default="uvloop", choices=["uvloop", "asyncio"])
    options = parser.parse_args()
    start(serve(options.engine_url), options.loop)
