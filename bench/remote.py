"""A guard through `sluicegate guards serve` beside the same guard in this process: what the way costs.

    python -m bench.remote

Both in one run, in turns; a passage has some 500 characters.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench import report
from bench.stats import median_ratio
from guards.guard import Guard
from guards.registry import load
from guards.remote import RemoteSpec, remote
from guards.verdict import Passage
from service.transport import HttpTransport

ROUNDS: Final = 20
PASSAGES: Final = (1, 8, 32)


def main() -> None:
    local, found = load(threads=os.cpu_count() or 1), {}
    with far() as guard:
        for passages in PASSAGES:
            rounds = [_round(local, guard, passages, nth) for nth in range(ROUNDS + 1)][1:]  # the first warms up
            here, there = zip(*rounds, strict=True)
            ratio = median_ratio(there, here)
            found[f"{passages}_passages"] = ratio.document()
            print(f"{passages:3} passages through HTTP take {ratio} times as long as here")
    report.write("remote", "python -m bench.remote", {"ratio_to_here": found})


@contextmanager
def far() -> Iterator[Guard]:
    """The default guard in a process of its own."""
    os.environ["GUARD_KEY"] = "bench"
    command = [Path(sys.executable).with_name("sluicegate"), "guards", "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        told = re.search(r"http://\S+", process.stdout.readline() if process.stdout else "")
        assert told, "the guard server did not start"
        spec = RemoteSpec(url=told.group(), key_env="GUARD_KEY", timeout_s=60)
        transport = HttpTransport(spec)
        yield remote("far", spec, transport)
        transport.close()
    finally:
        process.terminate()
        process.wait()


def _round(here: Guard, there: Guard, passages: int, nth: int) -> tuple[float, float]:
    texts = [Passage(f"{nth} {n} " + "Some words that a guard is to read. " * 14) for n in range(passages)]
    if nth % 2:
        return _seconds(here, texts), _seconds(there, texts)
    second, first = _seconds(there, texts), _seconds(here, texts)
    return first, second


def _seconds(guard: Guard, passages: Sequence[Passage]) -> float:
    began = time.perf_counter()
    guard.judge(passages)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
