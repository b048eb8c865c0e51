"""The ledger's database: SQLite beside the spool, or PostgreSQL. One code for both."""

import fcntl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from service.ledger.bulk import Records, copy, records
from service.ledger.crypto import DataKey, SealError, Vault
from service.ledger.desk import ReviewItem
from service.ledger.models import Base, Content, ContentKey, Exchange
from service.ledger.trail import Rows, Trail

MIGRATIONS: Final = Path(__file__).with_name("migrations")
BUSY_S: Final = 10  # how long a writer waits for another one on SQLite
log = structlog.get_logger(__name__)


_SEALED: Final = sa.select(
    Content.event_id, Content.exchange_id, Content.sealed, ContentKey.master_id, ContentKey.wrapped
).join(ContentKey, Content.key_id == ContentKey.id)


class StoreError(Exception):
    """The database cannot be used as it is. The message says what to do."""


class Store:
    """All that is asked of the database. `vault` opens the texts."""

    def __init__(self, url: str, vault: Vault) -> None:
        self.engine, self.vault = _engine(url), vault
        self.insert = sqlite.insert if self.engine.dialect.name == "sqlite" else postgresql.insert

    async def close(self) -> None:
        await self.engine.dispose()

    async def migrate(self) -> None:
        """Brings the tables to this version's shape; changes nothing when they have it."""
        with _one_at_a_time(self.engine):
            async with self.engine.begin() as connection:
                await connection.run_sync(_upgrade)

    async def ready(self) -> None:
        """Tables as this version needs them: SQLite is migrated here, PostgreSQL by the operator. Raises StoreError."""
        if self.engine.dialect.name == "sqlite":
            await self.migrate()
            return
        if not await self.current():
            raise StoreError("the database's tables are not of this version; run: sluicegate ledger migrate")

    async def current(self) -> bool:
        """Whether the tables are of this version's shape."""
        async with self.engine.connect() as connection:
            return await connection.run_sync(_is_current)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(self.engine, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may read first: on SQLite it takes the write lock at once instead of failing later."""
        async with self.engine.execution_options(sluicegate_write=True).begin() as connection:
            yield connection

    async def made(self, trails: Sequence[Trail]) -> list[Records] | None:
        """What `keep` can copy of trails, put together beforehand. None where it has to insert."""
        if self.engine.dialect.name == "sqlite" or not all(trail.began for trail in trails):
            return None
        try:
            return await records(trail.rows() for trail in trails if trail.kept)
        except Exception as error:  # an event that lacks a field: inserts tell which
            log.debug("copy_failed", error=type(error).__name__)
            return None

    async def keep(self, trails: Sequence[Trail], made: Sequence[Records] | None = None) -> None:
        """Stores finished trails in one transaction. What is stored already stays as it is."""
        if made is None or not await self._copied(made):
            await self._inserted(trails)

    async def _copied(self, made: Sequence[Records]) -> bool:
        """Whether all of it was new and is stored; if not, nothing of it is, and inserts tell what is the matter."""
        try:
            async with self.write() as connection:
                await copy(connection, made)
        except Exception as error:  # a row that is there already, data that no column takes, a lost connection
            log.debug("copy_failed", error=type(error).__name__)
            return False
        return True

    async def _inserted(self, trails: Sequence[Trail]) -> None:
        async with self.write() as connection:
            ids = [t.exchange_id for t in trails]
            query = sa.select(Exchange.id, Exchange.erased_at).where(Exchange.id.in_(ids))
            known = {row.id: row.erased_at is not None for row in await connection.execute(query)}
            rows = []
            for trail in trails:
                rows.append(_new_rows(trail, known.get(trail.exchange_id)))
                if rows[-1]:  # what comes later in the same batch is of a stored exchange
                    known.setdefault(trail.exchange_id, False)
            for table in Base.metadata.sorted_tables:
                if values := [value for some in rows for value in some.get(table.name, ())]:
                    await connection.execute(self.insert(table).on_conflict_do_nothing(), values)
            if late := [t.exchange_id for t in trails if t.flagged and not t.began]:
                await connection.execute(
                    sa.update(Exchange).where(Exchange.id.in_(late)).values(flagged=True, retention_class="flagged")
                )

    async def known(self, exchange_ids: Sequence[str]) -> set[str]:
        """Those of the ids that are stored."""
        async with self.read() as session:
            return set(await session.scalars(sa.select(Exchange.id).where(Exchange.id.in_(exchange_ids))))

    async def review_open(self) -> int:
        """How many items wait for a reviewer or an adjudicator."""
        waiting = sa.select(sa.func.count()).where(
            ReviewItem.state.in_(("open", "contested")), ReviewItem.gold.is_(None)
        )
        async with self.read() as session:
            return await session.scalar(waiting) or 0

    async def count(self, *tables: type[Base]) -> dict[str, int]:
        async with self.read() as session:
            return {
                t.__tablename__: await session.scalar(sa.select(sa.func.count()).select_from(t)) or 0 for t in tables
            }

    async def texts(self, exchange_id: str) -> dict[str, Any]:
        """Opened texts by event id; empty when none were kept or they were erased. Raises SealError."""
        async with self.read() as session:
            rows = (await session.execute(_SEALED.where(Content.exchange_id == exchange_id))).all()
        return {r.event_id: self._opened(r) for r in rows}

    async def unreadable(self) -> list[str]:
        """Event ids of stored texts that do not open."""
        failed = []
        async with self.engine.connect() as connection, connection.stream(_SEALED) as rows:
            async for row in rows:
                try:
                    self._opened(row)
                except SealError:
                    failed.append(str(row.event_id))
        return failed

    def _opened(self, row: Any) -> Any:
        return self.vault.open(row.exchange_id, row.master_id, row.wrapped, row.event_id, row.sealed)

    async def add_text(self, connection: AsyncConnection, exchange_id: str, event_id: str, texts: Any) -> None:
        """Seals a text that belongs to an exchange, such as a reviewer's note, under a key of its own."""
        key: DataKey = self.vault.new_key(exchange_id)
        values = {"id": key.id, "exchange_id": exchange_id, "master_id": key.master_id, "wrapped": key.wrapped}
        await connection.execute(sa.insert(ContentKey).values(**values))
        sealed = key.seal(event_id, texts)
        row = sa.insert(Content).values(event_id=event_id, exchange_id=exchange_id, key_id=key.id, sealed=sealed)
        await connection.execute(row)

    async def forget(self) -> None:
        """Overwrites what was deleted where it may still be: SQLite's write-ahead log holds the keys."""
        if self.engine.dialect.name == "sqlite":
            async with self.engine.connect() as connection:
                await connection.rollback()
                await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def _new_rows(trail: Trail, erased: bool | None) -> Rows:
    """What is to be stored of a trail. `erased` is None when its exchange is not stored yet."""
    if erased is None:
        return trail.rows() if trail.kept else {}
    if trail.began:
        return {}  # replayed
    gone = ("content_keys", "contents", "review_items", "marks") if erased else ()
    return {name: rows for name, rows in trail.rows().items() if name not in gone}


def unreachable(error: BaseException) -> bool:
    """Whether an error of the database is about the database, not about what was asked of it."""
    return isinstance(error, (SQLAlchemyError, OSError)) and not unstorable(error)


def unstorable(error: BaseException) -> bool:
    """Whether the data itself is at fault, so that trying again will not help."""
    if isinstance(error, (KeyError, TypeError, ValueError, sa.exc.DataError, sa.exc.IntegrityError)):
        return True
    state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    return isinstance(error, sa.exc.StatementError) and state.startswith("22")  # SQL: class 22, data exception


def _engine(url: str) -> AsyncEngine:
    if make_url(url).get_backend_name() != "sqlite":
        return create_async_engine(url, pool_pre_ping=True)
    if (path := make_url(url).database) and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch(mode=0o600)  # SQLite gives its other files the same mode
    engine = create_async_engine(url)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we begin transactions ourselves
    cursor = connection.cursor()
    # synchronous=FULL: the spool's copy goes once a row is here, so the row must survive a power cut
    for pragma in (f"busy_timeout={BUSY_S * 1000}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.execute("PRAGMA secure_delete=ON")  # erased means overwritten
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("sluicegate_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _one_at_a_time(engine: AsyncEngine) -> Iterator[None]:
    """Two processes that start together on a new SQLite file must not both make the tables."""
    path = engine.url.database
    if engine.dialect.name != "sqlite" or not path or path == ":memory:":
        yield
        return
    with Path(f"{path}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: sa.Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _is_current(connection: sa.Connection) -> bool:
    context = MigrationContext.configure(connection)
    return set(context.get_current_heads()) == set(ScriptDirectory.from_config(_config()).get_heads())
