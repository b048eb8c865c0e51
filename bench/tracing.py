"""What tracing costs: CPU time a chunk of the gateway with it, beside the very same gateway without.

    python -m bench.tracing          # four minutes; --quick for a short one

As in bench.relay: a paced local source, guards out of the path, rounds in turns (ABBA). Spans go to a collector of our
own that takes and forgets them. First without against without: what no difference looks like.
"""

import argparse
import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from bench.load import Load
from bench.relay import Size, compare, process
from bench.report import write
from bench.stats import median_ratio


@asynccontextmanager
async def collector() -> AsyncIterator[str]:
    """Takes what OTLP exporters post and forgets it; yields its address."""

    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def measure(size: Size) -> dict[str, object]:
    """Ratios of CPU time a chunk."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sluicegate-bench-"))
        source = await enter(process("bench.source", "--pace", str(size.pace)))
        off, again = [
            await enter(process("bench.gateway", "--engine-url", source.url, "--home", f"{folder}/{n}")) for n in "ab"
        ]
        os.environ |= {"SLUICEGATE_TRACING": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": await enter(collector())}
        traced = await enter(process("bench.gateway", "--engine-url", source.url, "--home", f"{folder}/c"))
        load = await enter(Load())
        same = await compare(load, off, again, size, max(2, size.rounds // 3), "off and off")
        cost = await compare(load, off, traced, size, size.rounds, "off and on")
    return {
        "streams": size.streams,
        "chunks_per_stream": size.chunks,
        "off_again_over_off": median_ratio(same[1], same[0]).document(),
        "on_over_off": median_ratio(cost[1], cost[0]).document(),
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short rounds; writes nothing")
    options = parser.parse_args(argv)
    size = Size(4, 100, 150.0, 2) if options.quick else Size(rounds=8)
    figures = asyncio.run(measure(size))
    print(figures)
    if not options.quick:
        print(write("tracing", "python -m bench.tracing", figures))


if __name__ == "__main__":
    main()
