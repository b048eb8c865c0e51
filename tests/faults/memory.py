"""A limit of memory, as a pod has one: the kernel ends who goes over it."""

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

from tests.gateway import KEY

if TYPE_CHECKING:
    from tests.faults.world import World

ROOMS = {Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes", Path("/sys/fs/cgroup"): "memory.max"}
MORE_BYTES = 24 * 2**20  # beyond what it uses already: memory is counted where it was asked for
CALLERS, WITHIN_S = 32, 60
BODY = b'{"model": "m", "messages": [{"role": "user", "content": "%s"}]}' % (b"x" * 3_900_000)  # 4 MB are allowed


def room() -> Path | None:
    """A control group with little memory; None where none can be made."""
    for root, limit in ROOMS.items():
        made = root / f"sluicegate-{os.getpid()}"
        with suppress(OSError):
            made.mkdir(exist_ok=True)
            if (made / limit).exists():
                (made / limit).write_text(str(MORE_BYTES))
                return made
            made.rmdir()
    return None


def squeeze(world: "World", number: int) -> None:
    """Gives a gateway little more memory than it has, and it more to read than fits; returns when it was ended."""
    made, gateway = room(), world.gateways[number]
    (made / "cgroup.procs").write_text(str(gateway.child.pid))
    url = "http://{}:{}/v1/chat/completions".format(*world.gateway_at(number))
    with ThreadPoolExecutor(CALLERS) as callers:
        began = time.monotonic()
        while gateway.child.poll() is None and time.monotonic() < began + WITHIN_S:
            list(callers.map(lambda _: _ask(url), range(CALLERS)))
    with suppress(subprocess.TimeoutExpired):
        gateway.child.wait(1)
    made.rmdir()
    assert gateway.child.returncode == -9


def _ask(url: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    with suppress(OSError), urlopen(Request(url, BODY, headers), timeout=WITHIN_S) as response:
        response.read()
