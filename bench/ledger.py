"""Commits and appends a second, of the ledger and of its spool, beside bare loops of write and fdatasync on the disk.

    python -m bench.ledger            # two minutes; --quick for ten seconds

In every round events of one size are written each way, in turns that alternate (ABC, CBA). What counts is the ratio to
a bare loop of the same round. One loop syncs each record: 64 exchanges that wait at once share syncs, so they should
get well above 1 of it. The other appends 64 records and syncs once, which is as good as it gets: the spool alone is
held to half of that.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.report import write
from bench.stats import median_ratio
from service.ledger.ledger import SqlLedger
from service.ledger.records import HEADER
from service.ledger.spool import Spool
from service.settings import Settings

WAITING = 64
EXCHANGE = "exc_" + "0" * 32
TEXT = "What a client asked, of an ordinary length. " * 20


@dataclass
class Syncs:
    """fdatasync, counted."""

    count: int = 0

    def __call__(self, fd: int) -> None:
        self.count += 1
        os.fdatasync(fd)


@dataclass
class Rates:
    """Events a second, one entry a round."""

    bare_syncs: list[float] = field(default_factory=list)
    bare_at_64: list[float] = field(default_factory=list)
    spool_at_64: list[float] = field(default_factory=list)
    commits_alone: list[float] = field(default_factory=list)
    commits_at_64: list[float] = field(default_factory=list)
    appends: list[float] = field(default_factory=list)
    events_per_sync: list[float] = field(default_factory=list)


def event(number: int) -> dict[str, Any]:
    return {
        "event": "verdict",
        "id": f"{EXCHANGE}:verdict:{number}",
        "exchange_id": EXCHANGE,
        "stage": "output",
        "texts": {"judged": TEXT},
    }


def asked() -> dict[str, Any]:
    return event(0) | {"event": "asked", "store": "flagged", "tenant": "bench", "subject": None}


async def bare(folder: Path, seconds: float, size_bytes: int, group: int) -> float:
    """Records a second of the simplest loop there is: `group` of them appended, then one fdatasync."""
    data, count = b"x" * size_bytes, 0
    fd = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        for _ in range(group):
            os.write(fd, data)
        os.fdatasync(fd)
        count += group
    os.close(fd)
    return count / elapsed


async def commits(commit: Callable[[int], Awaitable[None]], seconds: float, waiting: int) -> float:
    """Commits a second when `waiting` tasks each commit again as soon as they may."""
    began, count = time.perf_counter(), 0

    async def one() -> None:
        nonlocal count
        while time.perf_counter() - began < seconds:
            await commit(count)
            count += 1

    await asyncio.gather(*(one() for _ in range(waiting)))
    return count / (time.perf_counter() - began)


async def appends(ledger: SqlLedger, count: int) -> float:
    """Appends a second as the event loop sees them; all are durable before this returns, outside the time taken."""
    began = time.perf_counter()
    for number in range(count):
        ledger.append(event(number))
    rate = count / (time.perf_counter() - began)
    await ledger.commit(event(count))
    return rate


async def measure(rounds: int, seconds: float) -> Rates:
    rates, syncs = Rates(), Syncs()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as home:  # the disk, not a tmpfs
        settings = Settings(home=Path(home))
        ledger = SqlLedger(settings, Spool(settings.spool, limit_bytes=8 << 30, sync=syncs))
        await ledger.start()
        await ledger.commit(asked())
        size_bytes = next(settings.spool.glob("*.log")).stat().st_size
        spool = Spool(Path(home) / "alone", limit_bytes=8 << 30)
        await spool.start()
        payload = b"x" * (size_bytes - HEADER.size)

        async def at_64() -> float:
            before = syncs.count
            rate = await commits(lambda n: ledger.commit(event(n)), seconds, WAITING)
            rates.events_per_sync.append(rate * seconds / (syncs.count - before))
            return rate

        ways: list[tuple[list[float], Callable[[], Awaitable[float]]]] = [
            (rates.bare_syncs, lambda: bare(Path(home), seconds, size_bytes, 1)),
            (rates.bare_at_64, lambda: bare(Path(home), seconds, size_bytes, WAITING)),
            (rates.spool_at_64, lambda: commits(lambda _: spool.commit(payload), seconds, WAITING)),
            (rates.commits_at_64, at_64),
            (rates.commits_alone, lambda: commits(lambda n: ledger.commit(event(n)), seconds, 1)),
            (rates.appends, lambda: appends(ledger, 2000)),
        ]
        for number in range(rounds + 1):  # the first warms up
            for figures, run in ways if number % 2 else reversed(ways):
                figures.append(await run())
        await spool.stop()
        spool.release()
        await ledger.stop(0)
    for name in vars(rates):
        del getattr(rates, name)[0]
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    rates = asyncio.run(measure(3, 0.3) if quick else measure(15, 1.0))
    medians = {f"{name}_median": round(statistics.median(values), 1) for name, values in vars(rates).items()}
    ratios = {
        "spool_at_64_over_bare_at_64": median_ratio(rates.spool_at_64, rates.bare_at_64).document(),
        "commits_at_64_over_bare_at_64": median_ratio(rates.commits_at_64, rates.bare_at_64).document(),
        "commits_at_64_over_bare_syncs": median_ratio(rates.commits_at_64, rates.bare_syncs).document(),
        "commits_alone_over_bare_syncs": median_ratio(rates.commits_alone, rates.bare_syncs).document(),
    }
    print(medians, ratios, sep="\n")
    if not quick:
        print(write("ledger", "python -m bench.ledger", {"events_a_second": medians, "ratios": ratios}))


if __name__ == "__main__":
    main()
