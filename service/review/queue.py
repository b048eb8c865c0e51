"""What waits for a reviewer, and all that is known of one exchange."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from service.ledger.desk import AdjudicationRow, DecisionRow, ReviewItem
from service.ledger.models import DeliveryRow, Exchange, VerdictRow
from service.ledger.store import Store
from service.review.reviewer import RESTRICTED_QUEUE, ReviewError

Row = TypeVar("Row", VerdictRow, DecisionRow, AdjudicationRow)


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the queue; no text. `asked_at` in unix seconds."""

    id: str
    asked_at: float
    tenant: str
    model: str
    outcome: str
    categories: tuple[str, ...]
    blocked: bool
    decisions: int


@dataclass(frozen=True, slots=True)
class Case:
    """An exchange with its verdicts, deliveries, decisions and adjudications (oldest first), and its texts by event id.

    `restricted`: it is for reviewers of that clearance alone, and leaves the ledger for nothing else. What reviewers
    wrote is among the texts, by the id of the decision or comment.
    """

    exchange: Exchange
    verdicts: Sequence[VerdictRow]
    deliveries: Sequence[DeliveryRow]
    decisions: Sequence[DecisionRow]
    texts: dict[str, Any]
    adjudications: Sequence[AdjudicationRow] = ()
    restricted: bool = False
    items: Sequence[ReviewItem] = ()

    @property
    def passages(self) -> list[dict[str, str]]:
        """What was asked: `{kind, text}` in order; empty when no text was kept."""
        return list(self.texts.get(f"{self.exchange.id}:asked", {}).get("passages", []))

    @property
    def generated(self) -> dict[str, str]:
        """What was generated, by `<choice>/<channel>`."""
        return dict(self.texts.get(f"{self.exchange.id}:closed", {}).get("generated", {}))

    @property
    def in_force(self) -> list[DecisionRow]:
        """Decisions that count."""
        return in_force(self.decisions)


def in_force(decisions: Sequence[DecisionRow]) -> list[DecisionRow]:
    """Those that none supersedes and that were not taken back: at most one a reviewer and item."""
    gone = {d.supersedes for d in decisions}
    return [d for d in decisions if d.id not in gone and not d.withdrawn]


async def items(store: Store, open_only: bool = False, limit: int = 50) -> list[Item]:
    """Flagged or decided exchanges, newest first; with `open_only` those that nobody has decided, oldest first."""
    decided = sa.exists().where(DecisionRow.exchange_id == Exchange.id)
    query = sa.select(Exchange).limit(limit)
    if open_only:
        query = query.where(Exchange.flagged, ~decided).order_by(Exchange.asked_at)
    else:
        query = query.where(Exchange.flagged | decided).order_by(Exchange.asked_at.desc())
    async with store.read() as session:
        exchanges = (await session.scalars(query)).all()
        ids = [e.id for e in exchanges]
        verdicts = await _of(session, VerdictRow, ids)
        decisions = await _of(session, DecisionRow, ids)
    return [
        Item(
            id=e.id,
            asked_at=e.asked_at,
            tenant=e.tenant,
            model=e.model,
            outcome=e.outcome,
            categories=tuple(sorted({v.category for v in verdicts if v.exchange_id == e.id})),
            blocked=any(v.blocked for v in verdicts if v.exchange_id == e.id),
            decisions=sum(d.exchange_id == e.id for d in decisions),
        )
        for e in exchanges
    ]


async def case(store: Store, exchange_id: str) -> Case:
    """Everything of one exchange. An unambiguous beginning of its id will do. Raises ReviewError, SealError."""
    async with store.read() as session:
        like = Exchange.id.startswith(exchange_id, autoescape=True)
        found = (await session.scalars(sa.select(Exchange).where(like).limit(2))).all()
        if len(found) != 1:
            many = "several exchanges begin" if found else "no exchange begins"
            raise ReviewError(f"{many} with {exchange_id!r}; ids are in: sluicegate review list")
        full = found[0].id
        verdicts = await _of(session, VerdictRow, [full])
        decisions = await _of(session, DecisionRow, [full])
        adjudications = await _of(session, AdjudicationRow, [full])
        asked = sa.select(ReviewItem).where(ReviewItem.exchange_id == full).order_by(ReviewItem.created_at)
        asked_of = (await session.scalars(asked)).all()
        of_it = sa.select(DeliveryRow).where(DeliveryRow.exchange_id == full).order_by(DeliveryRow.position)
        deliveries = (await session.scalars(of_it)).all()
    restricted = any(item.queue == RESTRICTED_QUEUE for item in asked_of)
    texts = await store.texts(full)
    return Case(found[0], verdicts, deliveries, decisions, texts, adjudications, restricted, asked_of)


async def _of(session: AsyncSession, table: type[Row], ids: Sequence[str]) -> list[Row]:
    return list(await session.scalars(sa.select(table).where(table.exchange_id.in_(ids)).order_by(table.at)))
