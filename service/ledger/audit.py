"""Who did what, and who read what: rows whose keyed hashes each cover the row before.

A row that is changed, removed or put between breaks the chain. Only rows cut off at the end leave it whole: compare
the head that `sluicegate ledger verify` prints with one noted earlier.
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

GENESIS: Final = "0" * 64
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


async def faults(store: Store) -> tuple[list[str], str]:
    """What is wrong with the chain, and its head as `<seq>:<hash>`."""
    found, expected, previous = [], 1, GENESIS
    async with store.engine.connect() as connection:
        rows = await connection.stream(sa.select(AuditRow.__table__).order_by(AuditRow.seq))
        async for row in rows.mappings():
            values = {name: row[name] for name in _COLUMNS}
            if row["seq"] != expected:
                found.append(f"audit log: rows {expected} to {row['seq'] - 1} are missing")
            elif row["previous_hash"] != previous or row["hash"] != _hash(store.vault, values):
                found.append(f"audit log: row {row['seq']} was changed")
            expected, previous = row["seq"] + 1, row["hash"]
    return found, f"{expected - 1}:{previous}"


def _hash(vault: Vault, row: Json) -> str:
    return vault.keyed_hash("audit", json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=True))
