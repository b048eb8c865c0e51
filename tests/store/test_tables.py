import asyncio
import os
import sqlite3
import sys

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from service.gate.exchange import Role
from service.ledger.keys import KeyRing
from service.ledger.ledger import open_store
from service.ledger.models import Base
from service.ledger.store import StoreError
from service.settings import Settings


async def test_migrations_make_exactly_the_tables_of_the_models(store):
    """The migrated database and the models do not differ, and migrating again changes nothing."""

    def difference(connection):
        return compare_metadata(MigrationContext.configure(connection), Base.metadata)

    await store.migrate()
    async with store.engine.connect() as connection:
        assert await connection.run_sync(difference) == []


async def test_tables_of_another_version_are_refused_with_advice(store):
    """PostgreSQL is never migrated behind the operator's back: the error names the command."""
    if store.engine.dialect.name == "sqlite":
        pytest.skip("SQLite is migrated at start")
    async with store.write() as connection:
        await connection.execute(sa.text("DELETE FROM alembic_version"))
    with pytest.raises(StoreError, match="sluicegate ledger migrate"):
        await store.ready()


async def test_many_processes_may_start_on_a_new_database(tmp_path):
    """Starters that come at the same moment do not make the tables twice."""
    program = "from service.cli import main; main()"
    environment = os.environ | {"SLUICEGATE_HOME": str(tmp_path)}
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, "keys", "create", env=environment, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(4)
    ]
    keys = [(await p.communicate())[0] for p in processes]
    assert [p.returncode for p in processes] == [0] * 4
    assert len(set(keys)) == 4


async def test_sqlite_is_durable_private_and_shared(tmp_path):
    """SQLite runs with a write-ahead log, full syncs and foreign keys, and its file is the owner's alone."""
    store = open_store(Settings(home=tmp_path))
    await store.ready()
    async with store.engine.connect() as connection:
        pragmas = {
            name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    await store.close()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}
    assert (tmp_path / "sluicegate.db").stat().st_mode & 0o777 == 0o600


async def test_a_reader_in_another_process_does_not_stop_writers(tmp_path):
    """A long read elsewhere, such as a backup, does not make writes fail."""
    store = open_store(Settings(home=tmp_path))
    await store.ready()
    reader = sqlite3.connect(tmp_path / "sluicegate.db")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM exchanges").fetchall()
    await KeyRing(store).create("acme", Role.CLIENT)
    assert len(await KeyRing(store).list()) == 1
    reader.close()
    await store.close()
