"""CPU time per relayed chunk: the gateway with guards out of the path, beside the least a relay can be.

    python -m bench.relay            # five minutes; --quick for a short one

A paced local source stands in for vLLM. Both relays serve the same streams in turns (ABBA). What counts is the CPU time
of the relay's process, so other work on the machine disturbs little. First bare against bare: what no difference looks
like.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from bench.gateway import KEY
from bench.load import Job, Load
from bench.report import write
from bench.stats import Interval, median_ratio

START_S = 600.0  # a machine that is busy with other things starts a gateway slowly


@dataclass(frozen=True, slots=True)
class Size:
    streams: int = 16
    chunks: int = 800
    pace: float = 150.0  # chunks a second of each stream
    rounds: int = 12
    loop: str = "uvloop"


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_s(self) -> float:
        """User and system time of all its threads, to the nanosecond: clock_getcpuclockid(3)."""
        return time.clock_gettime((~self.pid << 3) | 2)


@asynccontextmanager
async def process(module: str, *arguments: str) -> AsyncIterator[Process]:
    """A module of the bench as a child that prints its port when it listens. Its log is shown if it does not."""
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", module, *arguments]
        child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=log)
        assert child.stdout
        try:
            port = await asyncio.wait_for(child.stdout.readline(), START_S)
            if not port:
                log.seek(0)
                raise RuntimeError(f"{module} did not start:\n{log.read().decode(errors='replace')[-2000:]}")
            yield Process(child.pid, int(port))
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()


async def chunk_us(load: Load, relay: Process, size: Size) -> float:
    """CPU microseconds of the relay for each chunk the source sent, requests and connections included."""
    body = {"model": "bench", "messages": [{"role": "user", "content": "Tell me."}], "max_tokens": size.chunks}
    before = relay.cpu_s()
    done = await load.run(Job(relay.url, [body] * size.streams, size.streams, KEY))
    spent_s = relay.cpu_s() - before
    if any(a.tokens != size.chunks for a in done.answers):
        raise RuntimeError("chunks are missing")
    return spent_s / (size.streams * size.chunks) * 1e6


async def compare(
    load: Load, a: Process, b: Process, size: Size, rounds: int, name: str
) -> tuple[list[float], list[float]]:
    """Rounds in the order ABBA; the first pair warms both up and is dropped."""
    costs: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            costs[side].append(await chunk_us(load, (a, b)[side], size))
        print(f"{name} {number}/{rounds}: {costs[0][-1]:.1f} and {costs[1][-1]:.1f} us", file=sys.stderr, flush=True)
    return costs[0][1:], costs[1][1:]


def _row(ours: Sequence[float], bare: Sequence[float]) -> dict[str, object]:
    ratio: Interval = median_ratio(ours, bare)
    return {"us_per_chunk": round(sorted(ours)[len(ours) // 2], 2), "ratio_to_bare": ratio.document()}


async def measure(size: Size) -> dict[str, object]:
    """Figures for every side."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sluicegate-bench-"))
        source = await enter(process("bench.source", "--pace", str(size.pace)))
        common = ("--engine-url", source.url, "--loop", size.loop)
        bare, again = [await enter(process("bench.bare", *common)) for _ in range(2)]
        ours = await enter(process("bench.gateway", *common, "--home", f"{folder}/a"))
        finest = await enter(process("bench.gateway", *common, "--home", f"{folder}/b", "--each-chunk"))
        load = await enter(Load())
        aa = await compare(load, bare, again, size, max(2, size.rounds // 3), "bare and bare")
        first = await compare(load, bare, ours, size, size.rounds, "bare and gateway")
        second = await compare(
            load, bare, finest, size, max(2, size.rounds // 2), "bare and gateway, a segment a chunk"
        )
    return {
        "streams": size.streams,
        "chunks_per_stream": size.chunks,
        "loop": size.loop,
        "bare": {"us_per_chunk": _row(first[0], first[0])["us_per_chunk"]},
        "bare_again": _row(aa[1], aa[0]),
        "gateway": _row(first[1], first[0]),
        "gateway_segment_per_chunk": _row(second[1], second[0]),
    }


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round; writes nothing")
    parser.add_argument("--rounds", type=int, default=Size().rounds, help="paired rounds of the gateway")
    parser.add_argument("--loop", default="uvloop", choices=["uvloop", "asyncio"])
    return parser.parse_args(argv)


def main(options: argparse.Namespace) -> None:
    size = Size(4, 100, 150.0, 2, options.loop) if options.quick else Size(rounds=options.rounds, loop=options.loop)
    figures = asyncio.run(measure(size))
    for side in ("bare_again", "gateway", "gateway_segment_per_chunk"):
        print(side, figures[side])
    if not options.quick:
        print(write("relay", "python -m bench.relay", figures))


if __name__ == "__main__":
    main(arguments())
