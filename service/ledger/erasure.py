"""Texts that must go, and texts that must not: erasure, retention by class, legal holds.

Erasing destroys the keys, so that copies in backups cannot be read either. What was judged and how long texts were
stays, and a tombstone says when, why and by whom. A legal hold beats both.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from service.ledger import audit
from service.ledger.desk import ClaimRow, ExportItem, ExportRow, ReviewItem
from service.ledger.lineage import DatasetItem, ModelDataset, ModelRow
from service.ledger.models import Content, ContentKey, Exchange, Mark, Tombstone
from service.ledger.store import Store, StoreError

DAY_S: Final = 86_400.0
KEPT_DAYS: Final = {"sampled": 30.0, "flagged": 365.0, "restricted": 365.0}  # by retention class, unless told otherwise
_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Erased:
    """`exports`: files of training data that hold the texts still.

    `datasets` (digests) had rows of it, textless from now on; `models` learned from them, or from such a model.
    """

    exchange_id: str
    exports: tuple[ExportRow, ...] = ()
    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gone:
    """What came of the exchanges of one end user. `held`: under legal hold, untouched."""

    erased: list[Erased]
    held: list[str]


async def erase(store: Store, exchange_id: str, by: str = "cli", why: str = "asked for") -> Erased | None:
    """Destroys the texts of an exchange and their keys. None when there is no such exchange.

    Raises:
        StoreError: it is under legal hold.
    """
    async with store.write() as connection:
        held = await connection.scalar(sa.select(Exchange.legal_hold).where(Exchange.id == exchange_id))
        if held is None:
            return None
        if held:
            raise StoreError(
                f"{exchange_id} is under legal hold; when that is over: sluicegate ledger hold remove {exchange_id}"
            )
        await _destroy(store, connection, [exchange_id], by, why)
        await audit.append(connection, store.vault, by, "erase", exchange_id, why=why)
    await store.forget()
    async with store.read() as session:
        query = sa.select(ExportRow).join(ExportItem, ExportItem.export_id == ExportRow.id)
        exports = await session.scalars(query.where(ExportItem.exchange_id == exchange_id).order_by(ExportRow.at))
        return Erased(exchange_id, tuple(exports), *await _learned(session, exchange_id))


async def _learned(session: AsyncSession, exchange_id: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Datasets with rows of an exchange, and the models that learned from them or were trained on from such a model."""
    of = sa.select(DatasetItem.digest).where(DatasetItem.exchange_id == exchange_id)
    first = sa.select(ModelDataset.model_id).where(ModelDataset.digest.in_(of)).cte("learned", recursive=True)
    learned = first.union(sa.select(ModelRow.id).join(first, ModelRow.parent == first.c.model_id))
    datasets = await session.scalars(of.order_by(DatasetItem.digest))
    return tuple(datasets), tuple(await session.scalars(sa.select(learned.c.model_id).order_by(learned.c.model_id)))


async def erase_subject(store: Store, tenant: str, subject: str, by: str = "cli", why: str = "asked for") -> Gone:
    """Erases all that an end user asked; `subject` is what the client sends as `user`. What is on hold is told."""
    hashed = store.vault.keyed_hash(f"subject/{tenant}", subject)
    query = sa.select(Exchange.id, Exchange.legal_hold).where(Exchange.subject == hashed, Exchange.tenant == tenant)
    async with store.read() as session:
        rows = (await session.execute(query.where(Exchange.erased_at.is_(None)).order_by(Exchange.asked_at))).all()
    gone = [await erase(store, row.id, by, why) for row in rows if not row.legal_hold]
    return Gone([e for e in gone if e is not None], [row.id for row in rows if row.legal_hold])


async def retain(
    store: Store, days: Mapping[str, float], by: str = "cli", dry_run: bool = False, now: float | None = None
) -> dict[str, int]:
    """Erases what is older than its class is kept; the number of exchanges by class. What is on hold stays."""
    now, gone = time.time() if now is None else now, dict.fromkeys(days, 0)
    for name, kept_days in days.items():
        old = sa.select(Exchange.id).where(
            Exchange.retention_class == name,
            Exchange.closed_at < now - kept_days * DAY_S,
            Exchange.erased_at.is_(None),
            ~Exchange.legal_hold,
        )
        if dry_run:
            async with store.read() as session:
                gone[name] = await session.scalar(sa.select(sa.func.count()).select_from(old.subquery())) or 0
            continue
        while True:
            async with store.write() as connection:
                ids = (await connection.scalars(old.order_by(Exchange.closed_at).limit(_AT_ONCE))).all()
                if not ids:
                    break
                await _destroy(store, connection, ids, by, f"kept {kept_days:g} days")
                gone[name] += len(ids)
                await audit.append(connection, store.vault, by, "retain", name, exchanges=len(ids), days=kept_days)
    if any(gone.values()) and not dry_run:
        await store.forget()
    return gone


async def hold(store: Store, exchange_id: str, on: bool, by: str = "cli", why: str = "") -> bool:
    """Puts an exchange under legal hold, or ends that. False when there is no such exchange."""
    async with store.write() as connection:
        change = sa.update(Exchange).where(Exchange.id == exchange_id).values(legal_hold=on)
        if not (await connection.execute(change)).rowcount:
            return False
        await audit.append(connection, store.vault, by, "hold_add" if on else "hold_remove", exchange_id, why=why)
    return True


async def _destroy(store: Store, connection: AsyncConnection, ids: Sequence[str], by: str, why: str) -> None:
    now = time.time()
    fresh = sa.update(Exchange).where(Exchange.id.in_(ids), Exchange.erased_at.is_(None))
    await connection.execute(fresh.values(erased_at=now))
    for table in (Content, ContentKey, Mark):
        await connection.execute(sa.delete(table).where(table.exchange_id.in_(ids)))
    items = sa.select(ReviewItem.id).where(ReviewItem.exchange_id.in_(ids))
    await connection.execute(sa.delete(ClaimRow).where(ClaimRow.item_id.in_(items)))
    waiting = ReviewItem.exchange_id.in_(ids), ReviewItem.state.in_(("open", "contested"))
    await connection.execute(sa.update(ReviewItem).where(*waiting).values(state="closed"))
    stones = [{"exchange_id": id_, "at": now, "why": why, "by": by} for id_ in ids]
    await connection.execute(store.insert(Tombstone).on_conflict_do_nothing(), stones)
