import asyncio
import shutil

import orjson
import pytest
import sqlalchemy as sa

from service.gate.exchange import LedgerUnavailable
from service.ledger.erasure import erase
from service.ledger.ledger import SqlLedger
from service.ledger.models import Base, Content, DeliveryRow, Exchange, VerdictRow
from service.ledger.records import frame
from service.ledger.shipper import BATCH, Shipper
from service.ledger.spool import Spool
from tests.store.events import ANSWER, CODE, SECRET, asked, clean, closed, flagged, new_id, verdict


async def write(ledger, events):
    for event in events:
        await ledger.commit(event)
    assert await ledger.drain(20)


async def contents_of(store):
    """Every row of every table."""
    async with store.read() as session:
        return {
            table.name: sorted(map(repr, (await session.execute(sa.select(table))).all()))
            for table in Base.metadata.sorted_tables
        }


async def rows(store, table):
    async with store.read() as session:
        return (await session.scalars(sa.select(table))).all()


async def test_every_field_of_every_event_comes_back(running, store):
    """What the gate says of a flagged exchange is in the database, field by field, and its texts open."""
    exchange_id = new_id()
    events = flagged(exchange_id)
    async with running() as ledger:
        await write(ledger, events)
    begun, judged, ended = events
    (exchange,) = await rows(store, Exchange)
    for name in ("endpoint", "model", "stream", "choices", "key_id", "tenant", "policy", "policy_version", "store"):
        assert getattr(exchange, name) == begun[name]
    for name in ("outcome", "flagged", "duration_s", "first_content_s", "usage", "scores"):
        assert getattr(exchange, name) == ended[name]
    assert (exchange.asked_at, exchange.closed_at) == (begun["at"], ended["at"])
    assert exchange.subject == store.vault.keyed_hash("subject/acme", begun["subject"])
    verdicts = await rows(store, VerdictRow)
    assert len(verdicts) == 2
    for row, said in zip(verdicts, judged["verdicts"], strict=True):
        assert {name: getattr(row, name) for name in said} == said
        assert (row.blocked, row.released_chars, row.choice, row.channel) == (True, 4, 0, "content")
    (delivery,) = await rows(store, DeliveryRow)
    lengths = delivery.generated_chars, delivery.released_chars, delivery.withheld_chars
    assert lengths == (len(ANSWER), 4, len(ANSWER) - 4)
    assert await store.texts(exchange_id) == {e["id"]: e["texts"] for e in events}


async def test_a_replayed_spool_changes_nothing(running, store, settings, tmp_path):
    """A spool that is shipped a second time, whole or in part, leaves every row as it is."""
    async with running(Spool(settings.spool, rotate_bytes=1)) as ledger:
        for n in range(4):
            for event in (flagged if n % 2 else clean)(new_id()):
                await ledger.commit(event)
            ledger.append(asked(new_id()))
        copy = tmp_path / "copy"
        await ledger.drain(20)
    shutil.copytree(settings.spool, copy)  # the exchanges never closed keep their files
    async with running():
        pass
    before = await contents_of(store)
    assert len(before["exchanges"]) == 8
    for path in copy.glob("*.log"):
        shutil.copy(path, settings.spool)
    async with running() as ledger:
        assert await ledger.drain(20)
    assert await contents_of(store) == before


async def test_events_after_the_end_are_added(running, store):
    """A verdict that comes after its exchange was stored is stored too, and flags it."""
    later, at_once = new_id(), new_id()
    async with running() as ledger:
        await write(ledger, clean(later))
        await write(ledger, [verdict(later, 7)])
        await write(ledger, [verdict(later, 7)])
        for event in [*clean(at_once), verdict(at_once, 7)]:
            ledger.append(event)
        await ledger.drain(20)
    assert {e.id: e.flagged for e in await rows(store, Exchange)} == {later: True, at_once: True}
    assert len(await rows(store, VerdictRow)) == 4


@pytest.mark.parametrize(
    ("level", "sampled", "flag", "exchanges", "texts"),
    [
        ("none", False, False, 0, 0),
        ("none", False, True, 1, 0),
        ("metadata", False, False, 1, 0),
        ("metadata", False, True, 1, 0),
        ("flagged", False, False, 1, 0),
        ("flagged", False, True, 1, 3),
        ("sampled", False, False, 1, 0),
        ("sampled", True, False, 1, 2),
        ("sampled", False, True, 1, 3),
    ],
)
async def test_what_is_kept_follows_the_store_level(running, store, level, sampled, flag, exchanges, texts):
    """none keeps nothing of clean traffic and never a text, metadata no text, the others what they say."""
    async with running() as ledger:
        await write(ledger, (flagged if flag else clean)(new_id(), store=level, sampled=sampled))
    assert len(await rows(store, Exchange)) == exchanges
    assert len(await rows(store, VerdictRow)) == 2 * flag
    assert len(await rows(store, Content)) == texts


@pytest.mark.parametrize("level", ["none", "metadata", "flagged"])
async def test_no_text_and_no_user_is_readable_on_disk(running, settings, level):
    """Neither spool nor database holds a text or an end user's id in clear; under none and metadata no text at all."""
    async with running() as ledger:
        for event in [asked(exchange_id := new_id(), store=level), verdict(exchange_id)]:
            await ledger.commit(event)
        spooled = b"".join(p.read_bytes() for p in settings.spool.glob("*.log"))
        assert exchange_id.encode() in spooled
        assert (b'"sealed"' in spooled) == (level == "flagged")
        await write(ledger, [closed(exchange_id, flagged=True)])
        everything = b"".join(p.read_bytes() for p in settings.home.rglob("*") if p.is_file())
    for text in (SECRET, ANSWER, CODE, "be kind", "end-user-77"):
        assert text.encode() not in everything
        assert text.encode().hex().encode() not in everything


async def test_what_a_dead_process_left_open_is_closed_as_interrupted(running, store, settings):
    """An exchange without an end is stored as interrupted, flagged, with its texts, by the next start."""
    open_id, private_id = new_id(), new_id()
    async with running() as ledger:
        for event in [asked(open_id), asked(private_id, store="none")]:
            await ledger.commit(event)
        assert await ledger.drain(20)
        assert await rows(store, Exchange) == []
    async with running() as ledger:
        assert await ledger.drain(20)
        assert {e.id: (e.outcome, e.flagged) for e in await rows(store, Exchange)} == {
            open_id: ("interrupted", True),
            private_id: ("interrupted", True),
        }
    assert (await store.texts(open_id))[f"{open_id}:asked"]["passages"][1]["text"] == SECRET
    assert await store.texts(private_id) == {}
    assert list(settings.spool.iterdir()) == []


async def test_what_is_under_way_is_not_taken_for_what_a_dead_process_left(running, store):
    """An exchange that begins before the files of the dead are read is closed by nobody but itself."""
    open_id, own_id = new_id(), new_id()
    async with running() as ledger:
        await ledger.commit(asked(open_id))
    async with running() as ledger:
        await ledger.commit(asked(own_id))
        assert await ledger.drain(20)
        assert {e.id: e.outcome for e in await rows(store, Exchange)} == {open_id: "interrupted"}
        await write(ledger, [closed(own_id)])
    assert {e.id: e.outcome for e in await rows(store, Exchange)} == {open_id: "interrupted", own_id: "completed"}


async def test_files_go_while_a_backlog_is_shipped(store, settings):
    """A file leaves the disk as soon as all in it is stored, however much still waits behind it."""
    count = 2 * BATCH + 100
    spool = Spool(settings.spool, rotate_bytes=30_000)
    await spool.start()
    for number in range(count):
        for event in clean(new_id(), store="metadata"):
            spool.append(orjson.dumps({name: value for name, value in event.items() if name != "texts"}))
        if number % 50 == 0:
            await asyncio.sleep(0.005)  # for the writer, which rotates
    await spool.stop()
    shipper, before = Shipper(spool, store), len(spool.segments)
    assert await shipper.step()
    assert 1 < len(spool.segments) < before
    while await shipper.step():
        pass
    assert spool.segments == []
    assert list(settings.spool.glob("*.log")) == []
    assert await store.count(Exchange) == {"exchanges": count}
    spool.release()


async def test_files_go_once_everything_in_them_is_stored(running, store, settings):
    """A rotated file stays while an exchange that began in it is open, and goes when that is stored."""
    open_id = new_id()
    async with running(Spool(settings.spool, rotate_bytes=1)) as ledger:
        await ledger.commit(asked(open_id))
        for _ in range(3):
            for event in flagged(new_id()):
                await ledger.commit(event)
        assert await ledger.drain(20)
        assert len(list(settings.spool.glob("*.log"))) == 11
        await write(ledger, [closed(open_id)])
        for _ in range(100):
            if len(list(settings.spool.glob("*.log"))) == 1:
                break
            await asyncio.sleep(0.02)
        assert len(list(settings.spool.glob("*.log"))) == 1
        assert len(await rows(store, Exchange)) == 4


async def test_a_quiet_spool_does_not_keep_what_is_stored(running, store, settings):
    """What is stored leaves the spool after a while, also when nothing more is written: erasure counts on it."""
    async with running(Spool(settings.spool, rotate_s=0.1)) as ledger:
        await write(ledger, flagged(new_id()))
        for _ in range(100):
            if not any(p.stat().st_size for p in settings.spool.glob("*.log")):
                break
            await asyncio.sleep(0.05)
        assert [p.stat().st_size for p in settings.spool.glob("*.log")] == [0]


async def test_damage_is_counted_put_aside_and_survived(running, store, settings):
    """A rotten record costs one event; the rest is stored, the damage counted, the file kept for inspection."""
    ids = [new_id() for _ in range(3)]
    async with running() as ledger:
        for exchange_id in ids:
            await ledger.commit(asked(exchange_id))
    (path,) = settings.spool.glob("*.log")
    data = bytearray(path.read_bytes())
    data[data.find(ids[1].encode())] ^= 1
    path.write_bytes(data)
    async with running() as ledger:
        assert await ledger.drain(20)
        assert (await ledger.stats()).damaged_bytes > 100
    assert {e.id for e in await rows(store, Exchange)} == {ids[0], ids[2]}
    assert [p.suffix for p in settings.spool.iterdir()] == [".damaged"]


async def test_a_spool_file_that_somebody_removes_is_a_counted_loss(running, store, settings):
    """A file that is removed from under the ledger is counted as damage, and what is written later is stored."""
    async with running() as ledger:
        await ledger.commit(asked(new_id()))
    (path,) = settings.spool.glob("*.log")
    size_bytes = path.stat().st_size
    async with running() as ledger:
        path.unlink()  # the shipper has not had its first turn yet
        await write(ledger, flagged(new_id()))
        assert (await ledger.stats()).damaged_bytes == size_bytes
    assert len(await rows(store, Exchange)) == 1


async def test_an_exchange_the_database_cannot_take_holds_up_nobody(running, store, settings):
    """An event that lacks a field is put aside, still sealed, and the exchanges around it are stored."""
    good, bad = new_id(), new_id()
    broken = verdict(bad)
    del broken["verdicts"][0]["guard"]
    async with running() as ledger:
        for event in [asked(bad), broken, closed(bad), *flagged(good)]:
            ledger.append(event)
        assert await ledger.drain(20)
        assert (await ledger.stats()).refused_exchanges == 1
    assert [e.id for e in await rows(store, Exchange)] == [good]
    aside = (settings.spool / "refused.aside").read_bytes()
    assert bad.encode() in aside
    assert SECRET.encode() not in aside


async def test_a_name_with_a_nul_does_not_keep_a_record_out(running, store):
    """A caller cannot hide an exchange by sending a model name that PostgreSQL cannot store."""
    exchange_id = new_id()
    events = flagged(exchange_id)
    events[0]["model"] = "small\0"
    async with running() as ledger:
        await write(ledger, events)
    assert [e.model for e in await rows(store, Exchange)] == ["small\\0"]


async def test_the_database_may_go_away_and_come_back(running, store, settings):
    """Without its tables nothing is lost and commits go on; with them again everything is stored."""
    async with store.write() as connection:
        await connection.execute(sa.text("ALTER TABLE exchanges RENAME TO gone"))
    ids = [new_id() for _ in range(5)]
    async with running() as ledger:
        for exchange_id in ids:
            for event in flagged(exchange_id):
                await ledger.commit(event)
        assert not await ledger.drain(0.5)
        stats = await ledger.stats()
        assert not stats.database_up
        assert stats.records == 15
        assert stats.oldest_s > 0.2
        async with store.write() as connection:
            await connection.execute(sa.text("ALTER TABLE gone RENAME TO exchanges"))
        assert await ledger.drain(20)
        stats = await ledger.stats()
        assert (stats.database_up, stats.records, stats.oldest_s, stats.review_open) == (True, 0, 0.0, 5)
    assert {e.id for e in await rows(store, Exchange)} == set(ids)


async def test_a_ledger_starts_while_the_database_is_unreachable(tmp_path):
    """The service comes up and records without its database; the spool keeps what the next start ships."""
    from service.settings import Settings

    pytest.importorskip("asyncpg")
    away = Settings(home=tmp_path, database_url="postgresql+asyncpg://nobody@127.0.0.1:1/none")
    ledger = SqlLedger(away)
    await ledger.start()
    exchange_id = new_id()
    for event in flagged(exchange_id):
        await ledger.commit(event)
    await ledger.stop(0.1)
    back = SqlLedger(Settings(home=tmp_path))
    await back.start()
    assert await back.drain(20)
    assert await back.store.known([exchange_id]) == {exchange_id}
    await back.stop()


async def test_no_exchange_begins_that_cannot_be_recorded(running, settings):
    """While the disk fails a new exchange is refused at once; one under way is recorded when the disk works again."""
    broken = []

    def sync(fd):
        if broken:
            raise OSError(28, "No space left on device")

    exchange_id = new_id()
    async with running(Spool(settings.spool, sync=sync)) as ledger:
        await ledger.commit(asked(exchange_id))
        broken.append(True)
        with pytest.raises(LedgerUnavailable, match="No space left"):
            await ledger.commit(verdict(exchange_id))
        assert not ledger.writable
        with pytest.raises(LedgerUnavailable, match="No space left"):
            ledger.append(asked(new_id()))
        ledger.append(closed(exchange_id, flagged=True))
        broken.clear()
        for _ in range(100):
            if ledger.writable:
                break
            await asyncio.sleep(0.05)
        assert await ledger.drain(20)
        assert await ledger.store.known([exchange_id]) == {exchange_id}
        assert len(await ledger.store.texts(exchange_id)) == 3


async def test_erasure_makes_text_unreadable_everywhere(running, store, settings):
    """After erasure no text opens, its bytes have left the database, a replay brings nothing back; verdicts stay."""
    exchange_id = new_id()
    async with running(Spool(settings.spool, rotate_bytes=1)) as ledger:
        await write(ledger, [asked(exchange_id), verdict(exchange_id)])
        copies = {p: p.read_bytes() for p in settings.spool.glob("*.log")}
        await write(ledger, [closed(exchange_id, flagged=True)])
        (sealed, *_) = [c.sealed for c in await rows(store, Content)]
        assert await erase(store, exchange_id)
        assert await store.texts(exchange_id) == {}
        await write(ledger, [verdict(exchange_id, 9)])
    for path, data in copies.items():
        path.write_bytes(data)
    async with running() as ledger:
        assert await ledger.drain(20)
    assert await store.texts(exchange_id) == {}
    assert len(await rows(store, VerdictRow)) == 4
    assert (await rows(store, Exchange))[0].erased_at
    if store.engine.dialect.name == "sqlite":
        assert sealed not in b"".join(p.read_bytes() for p in settings.home.glob("sluicegate.db*"))
    assert not await erase(store, "exc_unknown")


async def test_a_record_longer_than_a_chunk_is_shipped(running, store):
    """Texts much longer than what is read at once arrive whole."""
    exchange_id = new_id()
    events = flagged(exchange_id, text="long " * 300_000)
    async with running() as ledger:
        await write(ledger, events)
    assert (await store.texts(exchange_id))[f"{exchange_id}:asked"] == events[0]["texts"]


async def test_a_thousand_orphans_are_closed(running, store, settings):
    """However many exchanges a process left open, each of them is stored."""
    settings.spool.mkdir(parents=True)
    frames = [frame(orjson.dumps({k: v for k, v in asked(new_id()).items() if k != "texts"})) for _ in range(1000)]
    (settings.spool / "00000000000000000001-dead-000001.log").write_bytes(b"".join(frames))
    async with running() as ledger:
        assert await ledger.drain(30)
        stats = await ledger.stats()
    assert (stats.shipped_exchanges, stats.review_open) == (1000, 1000)
