"""Two gateways and two engines beside one of each: does a replica carry what it carries alone?

    python -m bench.replicas         # three minutes; --quick for a short one

Paced local sources stand in for vLLM (bench.source): each stream gets its chunks at a fixed pace, so what is measured
is what gateways cost each other through the database, the engines they share and this machine. Each of the two
gateways chooses between both engines; one PostgreSQL holds what both record. Rounds go alone, both, both, alone.
"""

import argparse
import asyncio
import base64
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass

from bench.gateway import KEY
from bench.load import Job, Load
from bench.postgres import postgres
from bench.relay import Process, process
from bench.report import write
from bench.stats import median_ratio


@dataclass(frozen=True, slots=True)
class Size:
    streams: int = 8  # of each gateway
    answers: int = 24  # of each gateway in a round
    tokens: int = 120
    pace: float = 40.0  # tokens a second of each stream
    rounds: int = 6


@contextmanager
def environment(**settings: str) -> Iterator[None]:
    """Settings for the children started within."""
    named = {f"SLUICEGATE_{name.upper()}": value for name, value in settings.items()}
    before = {name: os.environ.get(name) for name in named}
    os.environ.update(named)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


async def tokens_a_second(loads: Sequence[Load], gateways: Sequence[Process], size: Size) -> float:
    """Of one gateway, while all of `gateways` are asked at the same time: the mean."""

    def job(gateway: Process, number: int) -> Job:
        ask = [{"role": "user", "content": f"{number} {i}: Tell me."} for i in range(size.answers)]
        bodies = [{"model": "bench", "messages": [one], "max_tokens": size.tokens} for one in ask]
        return Job(gateway.url, bodies, size.streams, KEY)

    done = await asyncio.gather(*(load.run(job(g, i)) for i, (load, g) in enumerate(zip(loads, gateways, strict=True))))
    return sum(d.tokens / d.wall_s for d in done) / len(done)


async def measure(size: Size, database: str) -> dict[str, object]:
    """Tokens a second of a replica among two over those of one alone."""
    master = base64.b64encode(secrets.token_bytes(32)).decode()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sluicegate-bench-"))
        sources = [await enter(process("bench.source", "--pace", str(size.pace))) for _ in range(2)]
        engines = ",".join(s.url for s in sources)
        with environment(database_url=database, master_key=master):
            alone = await enter(_gateway(sources[0].url, f"{folder}/alone"))
            pair = [await enter(_gateway(engines, f"{folder}/{n}")) for n in "ab"]
        loads = [await enter(Load()) for _ in range(2)]
        ones, twos = list[float](), list[float]()
        for number in range(size.rounds + 1):
            for side in (1, 2) if number % 2 == 0 else (2, 1):
                gateways = [alone] if side == 1 else pair
                rate = await tokens_a_second(loads[:side], gateways, size)
                (ones if side == 1 else twos).append(rate)
            print(f"{number}/{size.rounds}: {ones[-1]:.1f} alone, {twos[-1]:.1f} each", file=sys.stderr, flush=True)
    return {
        "streams_each": size.streams,
        "tokens_a_second_paced": size.streams * size.pace,
        "alone_tokens_a_second": round(sorted(ones[1:])[len(ones[1:]) // 2], 1),
        "per_replica_over_alone": median_ratio(twos[1:], ones[1:]).document(),
    }


def _gateway(engine_url: str, home: str) -> AbstractAsyncContextManager[Process]:
    return process("bench.gateway", "--engine-url", engine_url, "--home", home)


def migrated(base: str) -> str:
    """SQLAlchemy's URL of a database with this version's tables."""
    from service.ledger.crypto import vault
    from service.ledger.store import Store

    url = f"{base}/postgres".replace("postgresql:", "postgresql+asyncpg:")

    async def migrate(folder: str) -> None:
        from pathlib import Path

        store = Store(url, vault(Path(folder)))
        await store.migrate()
        await store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(migrate(folder))
    return url


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short rounds; writes nothing")
    options = parser.parse_args(argv)
    size = Size(4, 8, 40, 40.0, 2) if options.quick else Size()
    with postgres() as base:
        figures = asyncio.run(measure(size, migrated(base)))
    print(figures)
    if not options.quick:
        print(write("replicas", "python -m bench.replicas", figures))


if __name__ == "__main__":
    main()
