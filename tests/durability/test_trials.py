"""`kill -9` of processes that write under load, at any moment: start, work, adoption and shipping included."""

import asyncio
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from bench import report
from service.ledger.desk import ReviewItem
from service.ledger.ledger import SqlLedger
from service.ledger.models import ContentKey, Exchange, VerdictRow
from service.ledger.verify import verify
from service.settings import Settings
from tests.durability.nursery import Nursery
from tests.durability.writer import AT_ONCE, text_of, textless

PROVE = bool(os.environ.get("SLUICEGATE_PROVE"))
AT_A_TIME = 5
ROUNDS = 200 if PROVE else 2  # of so many kills at work each, on each of two databases
DRAIN_S = 300


class Writers:
    """Writers of one installation."""

    def __init__(self, home: Path, database_url: str | None) -> None:
        self._home, self._url, self._born = home, database_url or "", 0
        self._nursery = Nursery("tests.durability.writer")
        self.close = self._nursery.close

    async def kill_one(self, moment_s: float, writers: int, at_work: bool) -> list[str]:
        """A process of `writers` tasks, or one that only ships, killed that long after its birth or its first ack.

        Returns what it acknowledged.
        """
        self._born += 1
        acks = self._home / f"acks-{self._born}"
        acks.touch()
        pid = await self._nursery.born(str(self._home), self._url, str(acks), writers)
        deadline = time.monotonic() + DRAIN_S
        while at_work and not acks.stat().st_size:
            assert time.monotonic() < deadline, "it acknowledges nothing"
            await asyncio.sleep(0.01)
        await asyncio.sleep(moment_s)
        await self._nursery.kill(pid)
        acknowledged = acks.read_text().split()
        acks.unlink()
        return acknowledged


@dataclass
class Found:
    """What trials saw. `lost` and `altered`: events acknowledged that are not there, or not as they were written."""

    kills_at_work: int = 0
    kills_of_shippers: int = 0
    acknowledged: int = 0
    exchanges: set[str] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)


async def compare(ledger: SqlLedger, events: list[str], found: Found) -> None:
    """What was acknowledged beside what is in the database: each event there, its text as it was written."""
    exchanges = {e.partition(":")[0] for e in events}
    found.acknowledged += len(events)
    found.exchanges |= exchanges
    async with ledger.store.read() as session:
        of_them = sa.select(VerdictRow.event_id).where(VerdictRow.exchange_id.in_(exchanges))
        stored = set(await session.scalars(of_them))
        ids = sa.select(Exchange.id).where(Exchange.flagged, Exchange.id.in_(exchanges))
        flagged = set(await session.scalars(ids))
    found.lost += [e for e in events if e not in stored or e.partition(":")[0] not in flagged]
    for exchange_id in exchanges:
        if textless(exchange_id):
            continue
        texts = await ledger.store.texts(exchange_id)
        asked = texts.get(f"{exchange_id}:asked", {"passages": [{"text": None}]})["passages"][-1]["text"]
        judged = {e: texts.get(e, {}).get("judged") for e in events if e.startswith(exchange_id)}
        wrong = [e for e, text in judged.items() if text != text_of(e)]
        found.altered += wrong + [exchange_id] * (asked != text_of(f"{exchange_id}:asked"))


async def doubled(ledger: SqlLedger) -> dict[str, int]:
    """Exchanges with two items, two keys or two rows for one verdict."""
    per_exchange = (ReviewItem.exchange_id, ContentKey.exchange_id)
    async with ledger.store.read() as session:
        counts = {}
        for column in per_exchange:
            twice = sa.select(column).group_by(column).having(sa.func.count() > 1).subquery()
            counts[column.class_.__tablename__] = await session.scalar(sa.select(sa.func.count()).select_from(twice))
        rows = Counter(await session.scalars(sa.select(VerdictRow.event_id)))
    return counts | {"verdicts": sum(count != 2 for count in rows.values())}  # each event holds two


async def killed(writers: Writers, found: Found) -> list[str]:
    """One round: writers die one after the other, one in five of them while it starts; then one that ships for them."""
    moments = [(random.uniform(0, 0.5), number > 0) for number in range(AT_A_TIME)]
    dead = await asyncio.gather(*(writers.kill_one(at, AT_ONCE, at_work) for at, at_work in moments))
    await writers.kill_one(random.uniform(0, 0.5), writers=0, at_work=False)
    found.kills_at_work += AT_A_TIME
    found.kills_of_shippers += 1
    return [event for acknowledged in dead for event in acknowledged]


async def test_nothing_acknowledged_is_lost_or_doubled_by_kill_9(settings: Settings, tmp_path: Path):
    """Writers are killed under load, whoever ships what they left is killed too; the next start has all, once."""
    found, writers, ledger = Found(), Writers(tmp_path, settings.database_url), SqlLedger(settings)
    await ledger.start()
    await ledger.stop()  # tables and keys are there
    try:
        for number in range(1, ROUNDS + 1):
            events = await killed(writers, found)
            ledger = SqlLedger(settings)
            await ledger.start()
            assert await ledger.drain(DRAIN_S)
            await compare(ledger, events, found)
            if number < ROUNDS:
                await ledger.stop()
            if number % 10 == 0:
                print(f"round {number}/{ROUNDS}: {found.acknowledged} acknowledged, {len(found.lost)} lost", flush=True)
    finally:
        writers.close()
    finding, twice = await verify(settings.spool, ledger.store), await doubled(ledger)
    await ledger.stop()
    assert found.acknowledged > found.kills_at_work
    assert (found.lost, found.altered) == ([], [])
    assert not any(twice.values()), twice
    assert (finding.faults, finding.unshipped, finding.orphans) == ([], [], [])
    assert list(settings.spool.iterdir()) == []
    if PROVE:
        kind = "postgresql" if settings.database_url else "sqlite"
        figures = {"kills_at_work": found.kills_at_work, "kills_of_shippers": found.kills_of_shippers}
        figures |= {"events_acknowledged": found.acknowledged, "exchanges": len(found.exchanges)}
        figures |= {"lost": 0, "altered": 0, "doubled": 0}
        report.write(f"kill_{kind}", "make prove (tests/durability/test_trials.py)", figures)
