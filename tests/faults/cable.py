"""TCP in user space between two parts: it can be cut in two ways, and it is the balancer in front of gateways."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Sequence


class Cable:
    """From a port of its own to the first of `targets`, in turn, that takes the connection: (address, port), or a port.

    `state`: open; silent (nothing gets through and nobody is told); reset (every connection is torn, new ones too).
    """

    def __init__(self, *targets: int | tuple[str, int], host: str = "127.0.0.1") -> None:
        self.targets: Sequence[int | tuple[str, int]] = targets
        self.port, self._host = 0, host
        self._state, self._turn = "open", 0
        self._flows = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "Cable":
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def set(self, state: str) -> None:
        self._do(self._set(state))

    def _do(self, work) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._flows.set()
        self._server = await asyncio.start_server(self._joined, self._host, 0, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _set(self, state: str) -> None:
        self._state = state
        (self._flows.clear if state == "silent" else self._flows.set)()
        if state == "reset":
            for writer in list(self._writers):
                _tear(writer)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # asyncio's own callback complains of a handler that was
            await self._between(reader, writer)

    async def _between(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        far = None
        try:
            await self._flows.wait()
            if self._state == "reset" or (far := await self._reach()) is None:
                return
            self._writers.add(far[1])
            ways = [asyncio.create_task(self._carry(reader, far[1])), asyncio.create_task(self._carry(far[0], writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
        finally:
            for end in (writer, far[1] if far else None):
                if end is not None:
                    self._writers.discard(end)
                    _tear(end) if self._state == "reset" else end.close()

    async def _reach(self):
        targets, self._turn = self.targets, self._turn + 1
        first = self._turn  # others come while we wait
        for step in range(len(targets)):
            with contextlib.suppress(OSError):
                target = targets[(first + step) % len(targets)]
                return await asyncio.open_connection(*(("127.0.0.1", target) if isinstance(target, int) else target))
        return None

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()


def _tear(writer: asyncio.StreamWriter) -> None:
    """Closes so that the other side reads a reset, not an end."""
    if not writer.transport.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
