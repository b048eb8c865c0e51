import asyncio
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event

from service.ledger.ledger import open_store
from service.ledger.models import Base
from service.ledger.store import MIGRATIONS

EXCHANGES = "INSERT INTO exchanges (id, asked_at, closed_at, endpoint, model, stream, choices, key_id, tenant, policy,"
EXCHANGES += " policy_version, policy_digest, store, sampled, outcome, flagged) VALUES (:id, 5, 6, 'chat', 'm', :no, 1,"
EXCHANGES += " 'k', 't', 'p', 1, 'd', 'flagged', :no, 'completed', :flagged)"
VERDICTS = "INSERT INTO verdicts (event_id, position, exchange_id, at, stage, blocked, released_chars, guard, version,"
VERDICTS += " digest, category, threshold, action, mode, policy, policy_digest, spans) VALUES (:event, 0, :id, 5,"
VERDICTS += " 'input', :yes, 0, 'g', '1', 'd', :category, 0.5, 'refuse', 'enforce', 'p', 'd', '[]')"
DECISIONS = "INSERT INTO decisions (id, exchange_id, at, reviewer, input, categories, supersedes)"
DECISIONS += " VALUES (:id, :exchange, :at, 'ada', 'ok', '[]', :supersedes)"


@pytest.fixture
async def empty(settings, tmp_path):
    """A database without tables."""
    changes = {"home": tmp_path / "empty"}
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


async def go(store, move, revision):
    """Alembic's own `upgrade` or `downgrade`."""

    def run(connection):
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        config.set_main_option("path_separator", "os")
        move(config, revision)

    async with store.write() as connection:
        await connection.run_sync(run)


async def all_rows(store, query):
    async with store.read() as session:
        return [tuple(row) for row in (await session.execute(sa.text(query))).all()]


async def test_what_was_there_gets_its_items(empty):
    """Review's tables come with an item for all that was flagged or decided: routed, decided ones decided."""
    await go(empty, command.upgrade, "0001")
    flagged = {"exc_a": "harm", "exc_b": "child_exploitation", "exc_c": "self_harm", "exc_d": None}
    async with empty.write() as connection:
        for exchange_id, category in flagged.items():
            values = {"id": exchange_id, "flagged": category is not None, "no": False}
            await connection.execute(sa.text(EXCHANGES), values)
            if category:
                values = {"id": exchange_id, "event": f"{exchange_id}:1", "category": category, "yes": True}
                await connection.execute(sa.text(VERDICTS), values)
        for number, supersedes in ((1, None), (2, "dec_1"), (3, None)):  # 3: made at the same moment as 1
            values = {"id": f"dec_{number}", "exchange": "exc_a", "at": number, "supersedes": supersedes}
            await connection.execute(sa.text(DECISIONS), values)
    await go(empty, command.upgrade, "0002")
    columns = "exchange_id, queue, state, reviews_done, category, categories"
    assert await all_rows(empty, f"SELECT {columns} FROM review_items ORDER BY exchange_id") == [
        ("exc_a", "default", "decided", 1, "harm", ",harm,"),
        ("exc_b", "restricted", "open", 0, "child_exploitation", ",child_exploitation,"),
        ("exc_c", "urgent", "open", 0, "self_harm", ",self_harm,"),
    ]
    decisions = await all_rows(empty, "SELECT id, item_id, supersedes FROM decisions ORDER BY id")
    assert decisions == [("dec_1", "item_a", None), ("dec_2", "item_a", "dec_1"), ("dec_3", "item_a", "dec_2")]


async def test_down_and_up_again(empty):
    """Going back to the first tables keeps exchanges and decisions, and forth again gives exactly today's tables."""
    await go(empty, command.upgrade, "0001")
    async with empty.write() as connection:
        await connection.execute(sa.text(EXCHANGES), {"id": "exc_a", "flagged": True, "no": False})
        values = {"id": "dec_1", "exchange": "exc_a", "at": 1, "supersedes": None}
        await connection.execute(sa.text(DECISIONS), values)
    await go(empty, command.upgrade, "head")
    await go(empty, command.downgrade, "0001")
    assert await all_rows(empty, "SELECT id FROM decisions") == [("dec_1",)]
    async with empty.engine.connect() as connection:
        names = await connection.run_sync(lambda c: sa.inspect(c).get_table_names())
        columns = await connection.run_sync(lambda c: [x["name"] for x in sa.inspect(c).get_columns("exchanges")])
    assert "review_items" not in names
    assert "legal_hold" not in columns
    await go(empty, command.upgrade, "head")
    async with empty.engine.connect() as connection:
        different = await connection.run_sync(lambda c: compare_metadata(MigrationContext.configure(c), Base.metadata))
    assert different == []


async def test_squawk_finds_no_fault_with_the_migrations(empty, tmp_path):
    """What runs on PostgreSQL is clean by squawk.

    All of a migration is one transaction, so that it holds whole or not at all: indexes cannot be made concurrently. A
    check that lets more in is dropped and made anew, and one scan of the queue holds all rows to it.
    """
    if empty.engine.dialect.name == "sqlite":
        pytest.skip("squawk reads PostgreSQL")
    squawk = Path(sys.executable).parent / "squawk"
    if not squawk.exists():
        pytest.skip("squawk is not here. Run: .venv/bin/pip install -c constraints.txt squawk-cli")
    await go(empty, command.upgrade, "0001")
    said = []

    def note(_connection, _cursor, statement, *_):
        said.append(statement.strip())

    event.listen(empty.engine.sync_engine, "before_cursor_execute", note)
    await go(empty, command.upgrade, "head")
    schema = [s for s in said if s.startswith(("SET", "CREATE", "ALTER", "DROP")) and "$$" not in s]
    path = tmp_path / "up.sql"
    path.write_text(";\n".join(schema) + ";\n")
    options = ["--assume-in-transaction", "--pg-version", "15", "--exclude"]
    options += ["require-concurrent-index-creation,ban-drop-constraint,constraint-missing-not-valid"]
    call = [squawk, *options, path]
    done = await asyncio.to_thread(subprocess.run, call, capture_output=True, text=True, check=False)
    assert len(schema) > 50
    assert done.returncode == 0, done.stdout
