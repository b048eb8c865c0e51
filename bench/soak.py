"""The gateway for long at 80 % of what it can: errors, and how its memory grows.

    python -m bench.soak --minutes 60       # 2 by default; writes bench/results/soak.json from 2 minutes on

First it is driven as hard as it goes for a moment (a source without a pace); then the same streams are paced so that
80 % of that comes through: answers begin and end, too, so the source is quicker than that while it speaks, and how much
is tried. Resident memory is read every second; its slope is the least-squares line over the second half.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import psutil

from bench.gateway import KEY
from bench.load import Job, Load
from bench.relay import Process, process
from bench.report import write

STREAMS, TOKENS, SHARE = 16, 200, 0.8
UNPACED = 100_000.0
NEAR, TRIES = 0.98, 4
LEAST_WRITTEN_MIN = 2.0


@dataclass(slots=True)
class Watched:
    """Resident memory of a process: seconds since the start, MiB."""

    at_s: list[float] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)

    async def watch(self, pid: int, every_s: float) -> None:
        process, began = psutil.Process(pid), time.perf_counter()
        while True:
            self.at_s.append(time.perf_counter() - began)
            self.mib.append(process.memory_info().rss / 2**20)
            await asyncio.sleep(every_s)

    def slope(self) -> tuple[float, float]:
        """MiB an hour over the second half, and the standard error of that. NaN where there is too little to tell."""
        half = len(self.at_s) // 2
        at, mib = np.asarray(self.at_s[half:]) / 3600, np.asarray(self.mib[half:])
        if len(at) < 4:
            return float("nan"), float("nan")
        (slope, _), covariance = np.polyfit(at, mib, 1, cov=True)
        return float(slope), float(np.sqrt(covariance[0, 0]))


def job(gateway: Process, answers: int) -> Job:
    body = {"model": "bench", "messages": [{"role": "user", "content": "Tell me."}], "max_tokens": TOKENS}
    return Job(gateway.url, [body] * answers, STREAMS, KEY)


@asynccontextmanager
async def at_pace(pace: float, home: str, load: Load) -> AsyncIterator[Process]:
    """A gateway over a source of so many tokens a second in each stream; what is made once is made."""
    async with (
        process("bench.source", "--pace", str(pace)) as source,
        process("bench.gateway", "--engine-url", source.url, "--home", home) as gateway,
    ):
        await load.run(job(gateway, STREAMS))
        yield gateway


async def soak(minutes: float) -> dict[str, object]:
    """Figures; raises RuntimeError when an answer failed."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sluicegate-bench-"))
        load = await enter(Load())
        answers_at_once = STREAMS * (16 if minutes >= LEAST_WRITTEN_MIN else 2)

        async def through(pace: float, nth: int) -> float:
            async with at_pace(pace, f"{folder}/{nth}", load) as gateway:
                found = await load.run(job(gateway, answers_at_once))
                return found.tokens / found.wall_s

        saturation = await through(UNPACED, 0)
        wanted = SHARE * saturation
        pace = wanted / STREAMS
        for nth in range(1, TRIES):
            if (got := await through(pace, nth)) >= NEAR * wanted:
                break
            pace *= wanted / got
        gateway = await enter(at_pace(pace, f"{folder}/soak", load))
        watched, answers, tokens = Watched(), 0, 0
        watching = asyncio.create_task(watched.watch(gateway.pid, min(1.0, minutes)))
        began = time.perf_counter()
        while (elapsed_s := time.perf_counter() - began) < minutes * 60:
            done = await load.run(job(gateway, answers_at_once))
            answers, tokens = answers + len(done.answers), tokens + done.tokens
            print(f"{elapsed_s:.0f} s: {answers} answers, {watched.mib[-1]:.0f} MiB", file=sys.stderr, flush=True)
        watching.cancel()
    slope, error = watched.slope()
    return {
        "minutes": minutes,
        "saturation_tokens_a_second": round(saturation),
        "wanted_tokens_a_second": round(wanted),
        "pace_of_a_stream": round(pace),
        "got_tokens_a_second": round(tokens / elapsed_s),
        "answers": answers,
        "errors": 0,
        "memory_mib": {
            "first": round(watched.mib[0], 1),
            "last": round(watched.mib[-1], 1),
            "most": round(max(watched.mib), 1),
        },
        "memory_slope_mib_an_hour": {"value": round(slope, 1), "standard_error": round(error, 1)},
    }


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=LEAST_WRITTEN_MIN)
    options = parser.parse_args(argv)
    figures = asyncio.run(soak(options.minutes))
    print(figures)
    if options.minutes >= LEAST_WRITTEN_MIN:
        print(write("soak", f"python -m bench.soak --minutes {options.minutes:g}", figures))
    return figures


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that gateway and source end with it
    main()
