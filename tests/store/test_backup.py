import uuid

import pytest
import sqlalchemy as sa

from service.ledger.backup import KEYS_FILE, backup, restore
from service.ledger.desk import ReviewItem
from service.ledger.erasure import erase
from service.ledger.ledger import SqlLedger, open_store
from service.ledger.models import Exchange
from service.ledger.replay import replay
from service.ledger.spool import Spool
from service.ledger.store import StoreError
from service.ledger.verify import verify as examine
from service.review.decisions import Decision, decide
from service.review.queue import case
from tests.store.events import SECRET, asked, clean, flagged, new_id


@pytest.fixture
async def filled(running):
    """Three flagged exchanges in the database."""
    ids = [new_id() for _ in range(3)]
    async with running() as ledger:
        for exchange_id in ids:
            for event in flagged(exchange_id):
                await ledger.commit(event)
        assert await ledger.drain(20)
    return ids


@pytest.fixture
async def elsewhere(settings, tmp_path):
    """An empty database of the same kind, of an installation with the same master key."""
    home = tmp_path / "elsewhere"
    home.mkdir()
    (home / "master.key").write_bytes((settings.home / "master.key").read_bytes())
    (home / "master.key").chmod(0o600)
    changes = {"home": home}
    if settings.database_url:
        import asyncpg

        name = f"t{uuid.uuid4().hex}"
        connection = await asyncpg.connect(settings.database_url.replace("postgresql+asyncpg:", "postgresql:"))
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        changes["database_url"] = settings.database_url.rpartition("/")[0] + f"/{name}"
    store = open_store(settings.model_copy(update=changes))
    yield store
    await store.close()


async def test_a_backup_restores_everything(filled, store, elsewhere, settings, tmp_path):
    """Exchanges, texts, decisions and the audit log come back whole, and the rules of the database with them."""
    await decide(store, filled[0], Decision("ada", input="harmful", note="0451"))
    ledger, keys = await backup(store, tmp_path / "b")
    assert await restore(elsewhere, ledger, keys) == 0
    await elsewhere.ready()
    found = await case(elsewhere, filled[0])
    assert found.passages[1]["text"] == SECRET
    assert found.texts[found.decisions[0].id] == {"note": "0451"}
    assert (await examine(settings.spool, elsewhere)).faults == []
    with pytest.raises(sa.exc.IntegrityError, match="append-only"):
        async with elsewhere.write() as connection:
            await connection.execute(sa.text("DELETE FROM decisions"))
    with pytest.raises(StoreError, match="not empty"):
        await restore(elsewhere, ledger, keys)
    with pytest.raises(StoreError, match="folder of its own"):
        await backup(store, tmp_path / "b")


async def test_erasure_reaches_older_backups(filled, store, elsewhere, tmp_path):
    """An old ledger with today's keys brings back no text that was erased in between; the old keys are not in it."""
    ledger, old_keys = await backup(store, tmp_path / "old")
    await erase(store, filled[1])
    await backup(store, tmp_path / "new")
    wrapped = {row.wrapped for row in await _keys(store)}
    assert not any(key in ledger.read_bytes() for key in wrapped)
    assert await restore(elsewhere, ledger, tmp_path / "new" / KEYS_FILE) == 3
    await elsewhere.ready()
    assert await elsewhere.texts(filled[1]) == {}
    assert await elsewhere.texts(filled[0]) != {}
    async with elsewhere.read() as session:
        assert (await session.get(Exchange, filled[1])).erased_at is not None
    assert old_keys.stat().st_mode & 0o777 == 0o600


async def _keys(store):
    async with store.read() as session:
        return (await session.execute(sa.text("SELECT wrapped FROM content_keys"))).all()


async def test_spool_files_from_elsewhere_can_be_read_in(running, store, settings, tmp_path):
    """Files saved from a dead machine are stored once, however often they are read; what has no end waits."""
    done, plain, begun = new_id(), new_id(), new_id()
    spool = Spool(settings.spool)
    ledger = SqlLedger(settings, spool)
    await spool.start()
    for event in [*flagged(done), *clean(plain), asked(begun)]:
        await ledger.commit(event)
    await spool.stop()
    spool.release()
    await ledger.store.close()
    files = sorted(settings.spool.glob("*.log"))
    found = await replay(store, files)
    assert (found.stored, found.known, found.open, found.damaged_bytes) == (2, 0, 1, 0)
    again = await replay(store, files, close_open=True)
    assert (again.stored, again.known, again.open) == (1, 2, 0)
    async with store.read() as session:
        assert {e.id: e.outcome for e in await session.scalars(sa.select(Exchange))}[begun] == "interrupted"
        assert await session.scalar(sa.select(sa.func.count()).select_from(ReviewItem)) == 2
    with pytest.raises(StoreError, match="is no file"):
        await replay(store, [tmp_path / "none.log"])
