"""Who did what, and who read what: rows whose keyed hashes each cover the row before.

A row that is changed, removed or put between breaks the chain. Only rows cut off at the end leave it whole: compare
the head that `sluicegate ledger verify` prints with one noted earlier. A gateway that has seen them misses them too.
"""

import json
import time
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.gate.exchange import Json
from service.ledger.crypto import Vault
from service.ledger.models import AuditRow
from service.ledger.store import Store

Head = tuple[int, str]  # number and hash of a row
GENESIS: Final = "0" * 64
START: Final[Head] = (0, GENESIS)
_COLUMNS: Final = ("seq", "at", "actor", "action", "object", "detail", "previous_hash")
_LOCK: Final = 0x51C3  # of all writers to the chain, on PostgreSQL; SQLite has but one writer


async def append(
    connection: AsyncConnection, vault: Vault, actor: str, action: str, target: str, **detail: Any
) -> None:
    """Adds a row in the caller's transaction (of `Store.write`). `detail` is JSON without text of users."""
    if connection.dialect.name == "postgresql":
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    newest = sa.select(AuditRow.seq, AuditRow.hash).order_by(AuditRow.seq.desc()).limit(1)
    last = (await connection.execute(newest)).first()
    row = {
        "seq": last.seq + 1 if last else 1,
        "at": time.time(),
        "actor": actor,
        "action": action,
        "object": target,
        "detail": detail,
        "previous_hash": last.hash if last else GENESIS,
    }
    await connection.execute(sa.insert(AuditRow).values(**row, hash=_hash(vault, row)))


async def record(store: Store, actor: str, action: str, target: str, **detail: Any) -> None:
    """`append` in a transaction of its own."""
    async with store.write() as connection:
        await append(connection, store.vault, actor, action, target, **detail)


async def faults(store: Store, since: Head = START, most: int | None = None) -> tuple[list[str], Head]:
    """What is wrong with the chain from a row seen before on, of at most so many rows, and the last row looked at."""
    found, (expected, previous) = list[str](), since
    rows = sa.select(AuditRow.__table__).where(AuditRow.seq > expected).order_by(AuditRow.seq).limit(most)
    async with store.engine.connect() as connection:
        async for row in (await connection.stream(rows)).mappings():
            values, expected = {name: row[name] for name in _COLUMNS}, expected + 1
            if row["seq"] != expected:
                found.append(f"audit log: rows {expected} to {row['seq'] - 1} are missing")
            elif row["previous_hash"] != previous or row["hash"] != _hash(store.vault, values):
                found.append(f"audit log: row {row['seq']} was changed")
            expected, previous = row["seq"], row["hash"]
    return found, (expected, previous)


def _hash(vault: Vault, row: Json) -> str:
    return vault.keyed_hash("audit", json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=True))
