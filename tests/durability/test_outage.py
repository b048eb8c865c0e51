"""PostgreSQL stopped under load, as in a crash, for as many exchanges as an hour brings; then started again."""

import asyncio
import os
import time

import asyncpg
import pytest
import sqlalchemy as sa

from bench import report
from bench.postgres import NoPostgres, Server
from service.gate.exchange import LedgerUnavailable
from service.ledger.desk import ReviewItem
from service.ledger.ledger import SqlLedger, open_store
from service.ledger.models import Exchange, VerdictRow
from service.ledger.spool import Spool
from service.ledger.verify import verify
from service.settings import Settings
from tests.durability.writer import text_of
from tests.store.events import clean, flagged, new_id

PROVE = bool(os.environ.get("SLUICEGATE_PROVE"))
RATE = 10  # exchanges a second, one in ten of them flagged
OUTAGE_S = 3600 if PROVE else 20  # of that rate, spooled as fast as it goes


@pytest.fixture
async def server(tmp_path):
    """A PostgreSQL to stop and start, and an installation on it."""
    try:
        postgres = Server("fsync=off")  # the machine does not lose power here
    except NoPostgres as error:
        pytest.skip(str(error))
    with postgres:
        admin = await asyncpg.connect(f"{postgres.url}/postgres")
        await admin.execute("CREATE DATABASE ledger")
        await admin.close()
        url = postgres.url.replace("postgresql:", "postgresql+asyncpg:") + "/ledger"
        settings = Settings(home=tmp_path, database_url=url)
        store = open_store(settings)
        await store.migrate()
        await store.close()
        yield postgres, settings


async def traffic(ledger, count):
    """Exchanges one after the other, each with its end; the ids of all, and of those whose finding was committed."""
    ids, seen = [], []
    for number in range(count):
        exchange_id = new_id()
        ids.append(exchange_id)
        *events, ended = (flagged if number % 10 == 0 else clean)(exchange_id, text=text_of(f"{exchange_id}:asked"))
        for event in events:
            if event["event"] == "verdict":
                await ledger.commit(event)
                seen.append(exchange_id)
            else:
                ledger.append(event)
        ledger.append(ended)
    return ids, seen


async def stored(store):
    """Ids in the order of their rows, and by flagged exchange how many verdict rows and items it has."""
    async with store.read() as session:
        ids = list(await session.scalars(sa.select(Exchange.id).order_by(sa.text("ctid"))))
        items = list(await session.scalars(sa.select(ReviewItem.exchange_id)))
        verdicts = list(await session.scalars(sa.select(VerdictRow.exchange_id).where(VerdictRow.position == 0)))
    return ids, sorted(items), sorted(verdicts)


async def test_an_hour_without_the_database_loses_nothing(server):
    """What an hour brings while PostgreSQL is down is spooled; with it back all is stored, in order, nothing twice."""
    postgres, settings = server
    ledger = SqlLedger(settings)
    await ledger.start()
    before, seen = await traffic(ledger, 20)
    assert await ledger.drain(60)
    shipping, more = await traffic(ledger, 40)  # under way when the database goes
    await asyncio.to_thread(postgres.stop)
    began = time.monotonic()
    during, flagged_then = await traffic(ledger, RATE * OUTAGE_S)
    spooled_s = time.monotonic() - began
    while (stats := await ledger.stats()).database_up:
        await asyncio.sleep(0.05)
    assert ledger.writable
    assert stats.records >= 2 * len(during)
    backlog = {"events": stats.records, "spool_mb": round(stats.bytes / 1e6, 1)}
    await asyncio.to_thread(postgres.start)
    began = time.monotonic()
    after, last = await traffic(ledger, 20)
    assert await ledger.drain(600)
    shipped_s = time.monotonic() - began
    ids, items, verdicts = await stored(ledger.store)
    finding, stats = await verify(settings.spool, ledger.store), await ledger.stats()
    await ledger.stop()
    assert ids == before + shipping + during + after
    assert items == verdicts == sorted(seen + more + flagged_then + last)
    assert (finding.faults, finding.unshipped, finding.orphans) == ([], [], [])
    assert (stats.records, stats.refused_exchanges, stats.database_up) == (0, 0, True)
    if PROVE:
        figures = {"exchanges_a_second": RATE, "outage_s": OUTAGE_S, "exchanges": len(during), "backlog": backlog}
        figures |= {"spooled_in_s": round(spooled_s, 1), "shipped_in_s": round(shipped_s, 1), "lost": 0, "doubled": 0}
        report.write("outage", "make prove (tests/durability/test_outage.py)", figures)


async def test_a_spool_that_an_outage_fills_refuses_what_is_new_and_keeps_what_is_under_way(server):
    """At its limit the spool takes no new exchange and records those under way to their end; the database back, all of
    it is stored and exchanges begin again."""
    postgres, settings = server
    ledger = SqlLedger(settings, Spool(settings.spool, limit_bytes=60_000))
    await ledger.start()
    await asyncio.to_thread(postgres.stop)
    begun, judged, ended = flagged(new_id())
    ledger.append(begun)
    ids = [begun["exchange_id"]]
    while ledger.writable:
        taken, _ = await traffic(ledger, 1)
        ids += taken
    with pytest.raises(LedgerUnavailable, match="is the database reachable"):
        await traffic(ledger, 1)
    await ledger.commit(judged)
    ledger.append(ended)
    await asyncio.to_thread(postgres.start)
    assert await ledger.drain(120)
    for _ in range(200):  # files are removed by the step after
        if ledger.writable:
            break
        await asyncio.sleep(0.05)
    again, _ = await traffic(ledger, 3)
    assert await ledger.drain(60)
    found, *_ = await stored(ledger.store)
    await ledger.stop()
    assert len(ids) > 10
    assert set(found) == set(ids + again)
    assert len(found) == len(ids + again)
