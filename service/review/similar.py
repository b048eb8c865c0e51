"""Near-duplicates among what was flagged: what was decided of them, and how many of a kind wait."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from service.ledger.desk import DecisionRow, ReviewItem
from service.ledger.likeness import BANDS
from service.ledger.models import Mark
from service.ledger.store import Store
from service.review.queue import in_force
from service.review.reviewer import RESTRICTED_QUEUE


@dataclass(frozen=True, slots=True)
class Similar:
    """An exchange that is like another. `likeness`: share of marks in common, 0 to 1. `said`: decisions in force."""

    exchange_id: str
    likeness: float
    said: Sequence[DecisionRow]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Exchanges that share a mark; `example` is one of them."""

    example: str
    exchanges: int


async def near_duplicates(store: Store, exchange_id: str, limit: int = 10) -> list[Similar]:
    """Most alike first. What is restricted is like nothing."""
    other = sa.orm.aliased(Mark)
    query = sa.select(other.exchange_id, sa.func.count().label("shared")).join(Mark, Mark.mark == other.mark)
    query = query.where(Mark.exchange_id == exchange_id, other.exchange_id != exchange_id)
    query = query.where(~_restricted(other.exchange_id), ~_restricted(Mark.exchange_id)).group_by(other.exchange_id)
    query = query.order_by(sa.func.count().desc(), other.exchange_id).limit(limit)
    async with store.read() as session:
        found = (await session.execute(query)).all()
        ids = [row.exchange_id for row in found]
        decisions = list(await session.scalars(sa.select(DecisionRow).where(DecisionRow.exchange_id.in_(ids))))
    said = in_force(decisions)
    return [
        Similar(row.exchange_id, min(1.0, row.shared / BANDS), [d for d in said if d.exchange_id == row.exchange_id])
        for row in found
    ]


async def clusters(store: Store, limit: int = 20) -> list[Cluster]:
    """The largest groups with something that waits, each told once. What is restricted is in none."""
    waits = sa.exists().where(ReviewItem.exchange_id == Mark.exchange_id, ReviewItem.state.in_(("open", "contested")))
    query = sa.select(sa.func.min(Mark.exchange_id).label("example"), sa.func.count().label("exchanges"))
    query = query.where(waits, ~_restricted(Mark.exchange_id)).group_by(Mark.mark).having(sa.func.count() > 1)
    query = query.order_by(sa.func.count().desc(), sa.func.min(Mark.exchange_id)).limit(limit * BANDS)
    largest = Counter[str]()
    async with store.read() as session:
        for row in await session.execute(query):
            largest[row.example] = max(largest[row.example], row.exchanges)
    return [Cluster(example, exchanges) for example, exchanges in largest.most_common(limit)]


def _restricted(exchange_id: sa.ColumnElement[str] | sa.orm.InstrumentedAttribute[str]) -> sa.Exists:
    return sa.exists().where(ReviewItem.exchange_id == exchange_id, ReviewItem.queue == RESTRICTED_QUEUE)
