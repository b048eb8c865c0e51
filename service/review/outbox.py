"""Effects of decisions, held until they can no longer be undone. Whoever cares takes those that are due."""

import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.ledger.desk import OutboxRow
from service.ledger.store import Store


async def put(connection: AsyncConnection, kind: str, id_: str, not_before: float, **payload: Any) -> None:
    """`id_` is what the effect comes from; `payload` holds ids, never text."""
    row = {"id": id_, "kind": kind, "payload": payload, "not_before": not_before, "done_at": None}
    await connection.execute(sa.insert(OutboxRow).values(**row))


async def cancel(connection: AsyncConnection, id_: str) -> None:
    await connection.execute(sa.delete(OutboxRow).where(OutboxRow.id == id_, OutboxRow.done_at.is_(None)))


async def due(store: Store, kind: str, now: float | None = None, limit: int = 100) -> list[OutboxRow]:
    """Effects whose time has come, oldest first."""
    now = time.time() if now is None else now
    query = sa.select(OutboxRow).where(OutboxRow.done_at.is_(None), OutboxRow.not_before <= now, OutboxRow.kind == kind)
    async with store.read() as session:
        return list(await session.scalars(query.order_by(OutboxRow.not_before).limit(limit)))


async def done(connection: AsyncConnection, id_: str) -> bool:
    """Marks it in the transaction that carries it out. False: somebody else did, or it was undone."""
    mine = sa.update(OutboxRow).where(OutboxRow.id == id_, OutboxRow.done_at.is_(None)).values(done_at=time.time())
    return bool((await connection.execute(mine)).rowcount)
