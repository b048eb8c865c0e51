"""Runs an ASGI app on uvicorn as the service does: same loop, same parser, no access log."""

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

import uvicorn
import uvloop


async def run(app: Any) -> None:
    """Serves on a free port of loopback, which it prints, until the process is ended."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)  # whoever reads the port may connect at once
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
    print(listener.getsockname()[1], flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


def start(main: Coroutine[Any, Any, None], loop: str = "uvloop") -> None:
    if loop == "uvloop":
        uvloop.run(main)
    else:
        asyncio.run(main)
