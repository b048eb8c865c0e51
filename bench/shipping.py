"""Shipping into PostgreSQL beside a bare COPY of the very same rows into the same tables.

    python -m bench.shipping          # minutes; --quick for seconds, nothing is written

A spool of made-up exchanges is written once. In every round it is shipped into one database (read, checked, parsed, put
together, stored in transactions of a batch, idempotently), and its rows, made beforehand, are copied into another one:
one COPY a table, no question asked. Both have all constraints, triggers and indexes. Turns alternate (AB, BA).
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import sqlalchemy as sa

from bench.postgres import postgres
from bench.report import write
from bench.stats import median_ratio
from service.app import settle
from service.gate.exchange import Json
from service.ledger.ledger import SqlLedger
from service.ledger.models import Base
from service.ledger.shipper import Shipper
from service.ledger.spool import Spool
from service.ledger.store import Store
from service.ledger.trail import Trail
from service.ledger.verify import read_file, spool_files
from service.settings import Settings

TEXT = "What a client asked and a model answered, of an ordinary length. " * 10
FLAGGED = 4  # one exchange in so many


def exchange(number: int) -> list[Json]:
    """Its events as the gate writes them; one in `FLAGGED` has a verdict."""
    exchange_id, at = f"exc_{number:032x}", 1.7e9 + number
    flagged = number % FLAGGED == 0
    words = {"endpoint": "chat", "model": "m", "key_id": "key_1", "tenant": "t", "policy": "p", "policy_digest": "d"}
    shared = {"exchange_id": exchange_id, "at": at}
    asked = words | {"stream": True, "choices": 1, "policy_version": 1, "store": "flagged", "sampled": False}
    events = [{"event": "asked", "id": f"{exchange_id}:asked", **shared, **asked, "texts": {"passages": [TEXT]}}]
    if flagged:
        verdict = {"guard": "g", "version": "1", "digest": "d", "stage": "output", "category": "harm", "score": 0.9}
        verdict |= {"threshold": 0.5, "action": "flag", "mode": "enforce", "policy": "p", "policy_digest": "d"}
        place = {"stage": "output", "choice": 0, "channel": "content", "blocked": False, "released_chars": 5}
        verdicts = [verdict | {"error": None, "spans": [[0, 4, "harm"]]}]
        texts = {"judged": TEXT}
        judged = {"event": "verdict", "id": f"{exchange_id}:verdict:1", **shared, **place, "flagged": True}
        events.append(judged | {"verdicts": verdicts, "texts": texts})
    lengths = {"generated_chars": len(TEXT), "released_chars": len(TEXT), "withheld_chars": 0}
    ended = {"outcome": "completed", "flagged": flagged, "duration_s": 1.5, "first_content_s": 0.2}
    ended |= {"usage": {"total_tokens": 99}, "scores": {"g": {"input": {"harm": 0.1}, "output": {"harm": 0.2}}}}
    ended |= {"deliveries": [{"index": 0, "channel": "content", "finish_reason": "stop", **lengths}]}
    texts = {"generated": {"0/content": TEXT}} if flagged else {}
    return [*events, {"event": "closed", "id": f"{exchange_id}:closed", **shared, **ended, "texts": texts}]


async def spooled(settings: Settings, count: int) -> int:
    """Writes the spool that every round ships. Its size in bytes."""
    ledger = SqlLedger(settings)
    await ledger.spool.start()
    for number in range(count):
        for event in exchange(number):
            ledger.append(event)
        if number % 200 == 0:
            await asyncio.sleep(0.01)
    await ledger.spool.stop()
    size_bytes = ledger.spool.size_bytes
    ledger.spool.release()
    await ledger.store.close()
    return size_bytes


def rows_of(folder: Path) -> dict[str, list[Json]]:
    """What the spool's exchanges are in tables."""
    trails: dict[str, Trail] = {}
    for path, _ in spool_files(folder):
        for event in read_file(path)[1]:
            trails.setdefault(event["exchange_id"], Trail(event["exchange_id"])).add(event)
    made: dict[str, list[Json]] = {}
    for trail in trails.values():
        for name, rows in trail.rows().items():
            made.setdefault(name, []).extend(rows)
    return made


class Round:
    """One database for each way, emptied before each turn."""

    def __init__(self, base: str, home: Path, settings: Settings) -> None:
        self._base, self._home, self._settings = base, home, settings

    async def ready(self) -> None:
        admin = await asyncpg.connect(f"{self._base}/postgres")
        for name in ("ours", "bare"):
            await admin.execute(f"CREATE DATABASE {name}")
        await admin.close()
        vault = SqlLedger(self._settings).store.vault
        self.stores = {
            name: Store(f"{self._base.replace('postgresql:', 'postgresql+asyncpg:')}/{name}", vault)
            for name in ("ours", "bare")
        }
        for store in self.stores.values():
            await store.migrate()
        made = rows_of(self._settings.spool)
        self.rows = sum(map(len, made.values()))
        self._copies = [
            (table, [tuple(_plain(table.c[name], row[name]) for name in row) for row in made[table.name]])
            for table in Base.metadata.sorted_tables
            if made.get(table.name)
        ]
        self._columns = {name: list(rows[0]) for name, rows in made.items() if rows}

    async def ours(self) -> float:
        """Seconds from the spool to the database."""
        await self._emptied("ours")
        folder = self._home / "again"
        await asyncio.to_thread(_linked, self._settings.spool, folder)
        spool = Spool(folder)
        await spool.start()
        shipper = Shipper(spool, self.stores["ours"])
        began = time.perf_counter()
        while await shipper.step():
            pass
        seconds = time.perf_counter() - began
        await spool.stop()
        spool.release()
        return seconds

    async def bare(self) -> float:
        """Seconds of COPY alone."""
        await self._emptied("bare")
        connection = await asyncpg.connect(f"{self._base}/bare")
        await connection.set_type_codec(
            "json", encoder=str.encode, decoder=bytes.decode, schema="pg_catalog", format="binary"
        )
        began = time.perf_counter()
        async with connection.transaction():
            for table, records in self._copies:
                columns = self._columns[table.name]
                await connection.copy_records_to_table(table.name, records=records, columns=columns)
        seconds = time.perf_counter() - began
        await connection.close()
        return seconds

    async def _emptied(self, name: str) -> None:
        tables = ", ".join(table.name for table, _ in self._copies)
        async with self.stores[name].engine.begin() as connection:
            await connection.exec_driver_sql(f"TRUNCATE {tables} CASCADE")

    async def check(self) -> None:
        """Both ways stored the same."""
        for table, records in self._copies:
            for store in self.stores.values():
                async with store.read() as session:
                    assert await session.scalar(sa.select(sa.func.count()).select_from(table)) == len(records)


def _plain(column: "sa.Column[Any]", value: Any) -> Any:
    return json.dumps(value) if isinstance(column.type, sa.JSON) and value is not None else value


def _linked(source: Path, target: Path) -> None:
    """The same files under another name: shipping removes what it has shipped."""
    target.mkdir(exist_ok=True)
    for path in source.glob("*.log"):
        (target / path.name).hardlink_to(path)


async def measure(count: int, rounds: int) -> dict[str, Any]:
    with postgres() as base, TemporaryDirectory(dir=Path.cwd()) as home:
        settings = Settings(home=Path(home))
        size_bytes = await spooled(settings, count)
        one = Round(base, Path(home), settings)
        await one.ready()
        settle()  # as a gateway does
        ways: list[tuple[str, Callable[[], Awaitable[float]]]] = [("ours", one.ours), ("bare", one.bare)]
        seconds: dict[str, list[float]] = {"ours": [], "bare": []}
        for number in range(rounds + 1):
            for name, run in ways if number % 2 else reversed(ways):
                took = await run()
                if number:  # the first warms up
                    seconds[name].append(took)
            await one.check()
        for store in one.stores.values():
            await store.close()
    ratio = median_ratio(seconds["bare"], seconds["ours"])
    rates = {f"{name}_rows_a_second": round(one.rows / sorted(s)[len(s) // 2]) for name, s in seconds.items()}
    size = {"exchanges": count, "rows": one.rows, "spool_mb": round(size_bytes / 1e6, 1)}
    return size | rates | {"ours_over_bare_copy": ratio.document()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    figures = asyncio.run(measure(500, 2) if quick else measure(5_000, 9))
    print(figures)
    if not quick:
        print(write("shipping", "python -m bench.shipping", figures))


if __name__ == "__main__":
    main()
