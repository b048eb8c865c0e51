"""Time to the first text of clean traffic with the ledger and without one: the same gateway twice, in turns (ABBA).

    python -m bench.recording            # minutes; --quick for seconds, nothing is written

A paced local source stands in for vLLM and a guard that never fires for the guards, so that what is left is the gateway
and its ledger: real uvicorn, real spool, real SQLite. First without against without: what no difference looks like.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from contextlib import AsyncExitStack
from itertools import chain

from bench.gateway import KEY
from bench.load import Job, Load
from bench.relay import Process, process
from bench.report import write
from bench.stats import quantile_ratio

CHUNKS = 20


async def firsts(load: Load, gateway: Process, streams: int) -> list[float]:
    """Milliseconds to the first text, four answers a stream."""
    body = {"model": "bench", "messages": [{"role": "user", "content": "Tell me. " * 50}], "max_tokens": CHUNKS}
    done = await load.run(Job(gateway.url, [body] * streams * 4, streams, KEY))
    return [answer.first_s * 1000 for answer in done.answers]


async def compare(load: Load, a: Process, b: Process, rounds: int, streams: int) -> dict[str, object]:
    """Figures of `a` over `b`; the first pair warms both up and is dropped."""
    sides: tuple[list[list[float]], list[list[float]]] = ([], [])
    for number in range(rounds + 1):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            sides[side].append(await firsts(load, (a, b)[side], streams))
        print(f"{number}/{rounds}: {[round(statistics.median(s[-1]), 2) for s in sides]} ms", file=sys.stderr)
    ours, bare = (side[1:] for side in sides)
    ratios = {f"p{q}": quantile_ratio(ours, bare, q / 100).document() for q in (50, 95)}
    return ratios | {"median_ms": [round(statistics.median(chain.from_iterable(s)), 2) for s in (ours, bare)]}


async def measure(rounds: int, streams: int) -> dict[str, object]:
    async with AsyncExitStack() as stack:
        enter, folder = stack.enter_async_context, stack.enter_context(tempfile.TemporaryDirectory())
        source = await enter(process("bench.source", "--pace", "150"))
        common = ("--engine-url", source.url, "--home")
        without, again = [
            await enter(process("bench.gateway", *common, f"{folder}/{n}", "--no-ledger")) for n in range(2)
        ]
        recording = await enter(process("bench.gateway", *common, f"{folder}/ledger"))
        load = await enter(Load())
        same = await compare(load, again, without, rounds, streams)
        return {
            "streams": streams,
            "without_over_without": same,
            "with_over_without": await compare(load, recording, without, rounds, streams),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    figures = asyncio.run(measure(2, 4) if quick else measure(20, 16))
    print(figures)
    if not quick:
        print(write("recording", "python -m bench.recording", figures))


if __name__ == "__main__":
    main()
