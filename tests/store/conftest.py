import contextlib
import uuid

import pytest

from bench.postgres import NoPostgres, Server
from service.ledger.ledger import SqlLedger, open_store
from service.settings import Settings


@pytest.fixture(scope="session")
def postgres():
    """Base URL of a real PostgreSQL, started for this run; the tests that need it are skipped where there is none."""
    pytest.importorskip("asyncpg", reason="PostgreSQL's driver is not installed (extra: postgres)")
    try:
        server = Server("fsync=off")
    except NoPostgres as error:
        pytest.skip(str(error))
    with server:
        yield server.url


@pytest.fixture(params=["sqlite", "postgres"])
async def settings(request, tmp_path):
    """An installation of its own, with an empty database of each kind."""
    if request.param == "sqlite":
        yield Settings(home=tmp_path)
        return
    import asyncpg

    base, name = request.getfixturevalue("postgres"), f"t{uuid.uuid4().hex}"
    connection = await asyncpg.connect(f"{base}/postgres")
    if not await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = 'migrated'"):
        await connection.execute("CREATE DATABASE migrated")
        store = open_store(_on(tmp_path, f"{base}/migrated"))
        await store.migrate()
        await store.close()
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE migrated")
    await connection.close()
    yield _on(tmp_path, f"{base}/{name}")


def _on(home, url):
    return Settings(home=home, database_url=url.replace("postgresql:", "postgresql+asyncpg:"))


@pytest.fixture
async def store(settings):
    store = open_store(settings)
    await store.ready()
    yield store
    await store.close()


@pytest.fixture
def running(settings):
    """A started ledger as a context: `async with running() as ledger`."""

    @contextlib.asynccontextmanager
    async def run(spool=None, **changes):
        ledger = SqlLedger(settings.model_copy(update=changes), spool)
        await ledger.start()
        try:
            yield ledger
        finally:
            await ledger.stop()

    return run
