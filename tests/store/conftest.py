import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from service.ledger.ledger import SqlLedger, open_store
from service.settings import Settings


def _pg_bin() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    path = found[-1] if found else shutil.which("initdb")
    return Path(path).parent if path else None


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """Base URL of a real PostgreSQL, started for this run; the tests that need it are skipped where there is none."""
    pytest.importorskip("asyncpg", reason="PostgreSQL's driver is not installed (extra: postgres)")
    binaries = _pg_bin()
    if binaries is None:
        pytest.skip("no PostgreSQL binaries (Debian: postgresql)")
    home = Path(tempfile.mkdtemp(prefix="sg-pg-"))  # not pytest's own folder: the socket's path must be short
    user = None
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = "postgres"
        try:
            shutil.chown(home, user)
        except LookupError:
            pytest.skip("running as root, and there is no user 'postgres' to run PostgreSQL as")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = home / "data"
    initdb = [binaries / "initdb", "-D", data, "-U", "sluicegate", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(initdb, check=True, user=user, capture_output=True, cwd=home)
    serve = [binaries / "postgres", "-D", data, "-p", str(port), "-k", home, "-h", "127.0.0.1", "-c", "fsync=off"]
    with (tmp_path_factory.mktemp("pg") / "log").open("w") as log:
        process = subprocess.Popen(serve, user=user, stdout=log, stderr=log, cwd=home)
    try:
        _wait(binaries, port)
        yield f"postgresql://sluicegate@127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGQUIT)  # nothing of it is needed any more
        process.wait(30)
        shutil.rmtree(home, ignore_errors=True)


def _wait(binaries, port):
    deadline = time.monotonic() + 60
    while subprocess.run([binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode:
        assert time.monotonic() < deadline, "PostgreSQL did not start"
        time.sleep(0.1)


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
