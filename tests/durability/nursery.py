"""Processes to be killed, forked from one that has imported all they need: the start of Python is paid for once."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final

END_S: Final = 240.0  # on a machine that stands still


class Nursery:
    """The process of `module`, whose main program is `bear`."""

    def __init__(self, module: str) -> None:
        self._turn = asyncio.Lock()
        command, pipe = [sys.executable, "-W", "ignore", "-m", module], subprocess.PIPE
        environment = os.environ | {"PYTHONPATH": "."}
        self._process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)

    async def born(self, *asked: Any) -> int:
        """The process id of a new child, which does what is asked."""
        return int(await self._ask(json.dumps(asked)))

    async def kill(self, pid: int) -> None:
        """SIGKILL, and no other end before it."""
        os.kill(pid, signal.SIGKILL)
        assert await self._ask(f"{pid}") == str(-signal.SIGKILL), "it ended before it was killed"

    async def _ask(self, line: str) -> str:
        async with self._turn:
            return (await asyncio.to_thread(self._answer, line)).strip()

    def _answer(self, line: str) -> str:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(END_S)
        self._process.stdout.close()


def bear(live: Callable[..., None]) -> None:
    """Reads what a child is asked, and answers its process id; reads a process id, and answers how that one ended.

    No child outlives whoever asked for it.
    """
    alive: set[int] = set()
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, int):
            print(os.waitstatus_to_exitcode(os.waitpid(asked, 0)[1]), flush=True)
            alive.remove(asked)
        elif (pid := os.fork()) == 0:
            live(*asked)
            os._exit(1)
        else:
            alive.add(pid)
            print(pid, flush=True)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
