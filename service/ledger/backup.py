"""Backups in two parts: all but the wrapped keys, and those alone. Texts are noise without their keys.

Keep the first as long as you like, the second no longer than an erasure may take to reach every copy. Restoring an
older ledger with newer keys brings back no text that was erased between them.
"""

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from service.ledger.store import Store, StoreError

KEYS: Final = "content_keys"
LEDGER_FILE: Final = "ledger.backup"
KEYS_FILE: Final = "keys.backup"
_ORPHANS: Final = (
    "UPDATE exchanges SET erased_at = closed_at WHERE erased_at IS NULL AND id IN"
    " (SELECT exchange_id FROM contents WHERE key_id NOT IN (SELECT id FROM content_keys))",
    "DELETE FROM contents WHERE key_id NOT IN (SELECT id FROM content_keys)",
)


async def backup(store: Store, folder: Path) -> tuple[Path, Path]:
    """Writes both parts into `folder` while the ledger is in use; returns their paths. Raises StoreError, OSError."""
    ledger, keys = folder / LEDGER_FILE, folder / KEYS_FILE
    await asyncio.to_thread(_make, folder, ledger, keys)
    if store.engine.dialect.name == "sqlite":
        await asyncio.to_thread(_copy_sqlite, _file(store), ledger, keys)
    else:
        await _run(store, "pg_dump", "-Fc", "--exclude-table-data", KEYS, "-f", str(ledger))
        await _run(store, "pg_dump", "-Fc", "--data-only", "--table", KEYS, "-f", str(keys))
    return ledger, keys


async def restore(store: Store, ledger: Path, keys: Path) -> int:
    """Fills an empty database; returns how many texts have lost their keys and are gone. Raises StoreError, OSError."""
    if missing := [path for path in (ledger, keys) if not await asyncio.to_thread(path.is_file)]:
        raise StoreError(f"{missing[0]} is missing; a backup is {LEDGER_FILE} and {KEYS_FILE}")
    async with store.engine.connect() as connection:
        if await connection.run_sync(lambda c: sa.inspect(c).get_table_names()):
            raise StoreError(
                "the database is not empty; restore into a new one, then point SLUICEGATE_DATABASE_URL at it"
            )
    if store.engine.dialect.name == "sqlite":
        await store.engine.dispose()
        return await asyncio.to_thread(_fill_sqlite, _file(store), ledger, keys)
    for section in ("pre-data", "data"):
        await _run(store, "pg_restore", "--no-owner", "--exit-on-error", "--section", section, str(ledger))
    await _run(store, "pg_restore", "--no-owner", "--exit-on-error", "--data-only", str(keys))
    async with store.write() as connection:
        for statement in _ORPHANS:
            lost = (await connection.exec_driver_sql(statement)).rowcount
    await _run(store, "pg_restore", "--no-owner", "--exit-on-error", "--section", "post-data", str(ledger))
    return lost


def _make(folder: Path, *files: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in files:
        if path.exists():
            raise StoreError(f"{path} is there already; give each backup a folder of its own")
        path.touch(mode=0o600)


def _copy_sqlite(source: Path, ledger: Path, keys: Path) -> None:
    with closing(sqlite3.connect(source)) as database, closing(sqlite3.connect(ledger)) as copy:
        database.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        copy.execute("PRAGMA secure_delete=ON")
        copy.execute("ATTACH DATABASE ? AS apart", (str(keys),))
        copy.execute("CREATE TABLE apart.content_keys AS SELECT * FROM main.content_keys")
        copy.execute("DELETE FROM main.content_keys")
        copy.commit()
        copy.execute("VACUUM")


def _fill_sqlite(target: Path, ledger: Path, keys: Path) -> int:
    shutil.copyfile(ledger, target)
    with closing(sqlite3.connect(target)) as database:
        database.execute("ATTACH DATABASE ? AS apart", (str(keys),))
        database.execute("INSERT INTO main.content_keys SELECT * FROM apart.content_keys")
        for statement in _ORPHANS:
            lost = database.execute(statement).rowcount
        database.commit()
    return lost


def _file(store: Store) -> Path:
    return Path(store.engine.url.database or "")


async def _run(store: Store, program: str, *arguments: str) -> None:
    """A tool of PostgreSQL on the database at hand; the password goes by the environment. Raises StoreError."""
    if shutil.which(program) is None:
        raise StoreError(f"{program} is not installed; run: sudo apt-get install -y postgresql-client")
    url = store.engine.url
    where = {"PGHOST": url.host, "PGPORT": url.port, "PGUSER": url.username, "PGPASSWORD": url.password}
    environment = os.environ | {name: str(value) for name, value in where.items() if value is not None}
    into = ("-d", str(url.database)) if program == "pg_restore" else (str(url.database),)
    process = await asyncio.create_subprocess_exec(
        program, *into, *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    if process.returncode:
        raise StoreError(f"{program}: {errors.decode(errors='replace').strip().splitlines()[-1]}")
