"""Review items as lines without text: pages of a queue, search, counts. A page costs the same in a longer queue."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from service.ledger.desk import QueueRow, ReviewItem
from service.ledger.models import Exchange
from service.ledger.store import Store
from service.review.reviewer import RESTRICTED_QUEUE, Reviewer, ReviewError, may_see, visible

COUNTED: Final = 1000  # beyond it a count says "as many or more"


@dataclass(frozen=True, slots=True)
class Entry:
    """One review item. `why` never tells that an answer is expected. Times in unix seconds."""

    id: str
    exchange_id: str
    queue: str
    why: str
    state: str
    priority: int
    created_at: float
    due_at: float
    category: str | None
    categories: tuple[str, ...]
    inclusion_probability: float | None
    reviews_wanted: int
    reviews_done: int
    tenant: str
    outcome: str
    flagged: bool


@dataclass(frozen=True, slots=True)
class Page:
    """`after` asks for the next page; None: there is none."""

    entries: tuple[Entry, ...]
    after: str | None


@dataclass(frozen=True, slots=True)
class Count:
    """What waits in a queue; counts end at `COUNTED`. Of the item due first `oldest_s` is the age, and `late_s` how far
    it is past its target, 0 while it is not.
    """

    queue: str
    description: str
    target_s: float
    open: int
    contested: int
    overdue: int
    oldest_s: float
    late_s: float = 0.0


ENTRIES: Final = sa.select(ReviewItem, Exchange.tenant, Exchange.outcome, Exchange.flagged).join(
    Exchange, ReviewItem.exchange_id == Exchange.id
)


def entry(row: Any) -> Entry:
    """Of a row of `ENTRIES`."""
    item: ReviewItem = row[0]
    why, probability = item.why, item.inclusion_probability
    if item.gold is not None:  # it looks like what it was before
        why, probability = ("flagged" if row.flagged else "sample"), (1.0 if row.flagged else None)
    return Entry(
        id=item.id,
        exchange_id=item.exchange_id,
        queue=item.queue,
        why=why,
        state=item.state,
        priority=item.priority,
        created_at=item.created_at,
        due_at=item.due_at,
        category=item.category,
        categories=tuple(item.categories.strip(",").split(",")) if item.categories else (),
        inclusion_probability=probability,
        reviews_wanted=1 if item.gold is not None else item.reviews_wanted,
        reviews_done=0 if item.gold is not None else item.reviews_done,
        tenant=row.tenant,
        outcome=row.outcome,
        flagged=row.flagged,
    )


async def list_items(
    store: Store,
    reviewer: Reviewer,
    queue: str = "default",
    state: str = "open",
    category: str | None = None,
    why: str | None = None,
    after: str | None = None,
    limit: int = 50,
) -> Page:
    """A page of a queue, what comes first first. Raises ReviewError."""
    may_see(reviewer, queue)
    key = ReviewItem.priority, ReviewItem.due_at, ReviewItem.id
    query = ENTRIES.where(ReviewItem.gold.is_(None), ReviewItem.state == state, ReviewItem.queue == queue)
    query = query.where(*_theirs(reviewer))
    if category is not None:
        query = query.where(ReviewItem.category == category)
    if why is not None:
        query = query.where(ReviewItem.why == why)
    if after is not None:
        priority, due_at, item_id = _cursor(after)
        query = query.where(sa.tuple_(*key) > sa.tuple_(sa.literal(int(priority)), sa.literal(due_at), item_id))
    async with store.read() as session:
        rows = (await session.execute(query.order_by(*key).limit(limit + 1))).all()
    entries = tuple(entry(row) for row in rows[:limit])
    last = entries[-1] if len(rows) > limit else None
    return Page(entries, f"{last.priority}/{last.due_at!r}/{last.id}" if last else None)


async def search(
    store: Store,
    text: str = "",
    tenant: str | None = None,
    category: str | None = None,
    outcome: str | None = None,
    state: str | None = None,
    since: float | None = None,
    until: float | None = None,
    after: str | None = None,
    limit: int = 50,
) -> Page:
    """Items newest first. `text`: the beginning of an item's or exchange's id. Restricted items are found by nobody."""
    query = ENTRIES.where(ReviewItem.gold.is_(None), ReviewItem.queue != RESTRICTED_QUEUE)
    if text:
        beginning = (column.startswith(text, autoescape=True) for column in (ReviewItem.id, ReviewItem.exchange_id))
        query = query.where(sa.or_(*beginning))
    if category:
        query = query.where(ReviewItem.categories.contains(f",{category},", autoescape=True))
    for column, value in ((Exchange.tenant, tenant), (Exchange.outcome, outcome), (ReviewItem.state, state)):
        query = query.where(column == value) if value else query
    query = query.where(ReviewItem.created_at >= since) if since is not None else query
    query = query.where(ReviewItem.created_at < until) if until is not None else query
    key = ReviewItem.created_at, ReviewItem.id
    if after is not None:
        _, created_at, item_id = _cursor(after)
        query = query.where(sa.tuple_(*key) < sa.tuple_(sa.literal(created_at), sa.literal(item_id)))
    async with store.read() as session:
        rows = (await session.execute(query.order_by(*(k.desc() for k in key)).limit(limit + 1))).all()
    entries = tuple(entry(row) for row in rows[:limit])
    last = entries[-1] if len(rows) > limit else None
    return Page(entries, f"0/{last.created_at!r}/{last.id}" if last else None)


async def counts(store: Store, reviewer: Reviewer, now: float | None = None) -> list[Count]:
    """What waits, by queue that they may see; queues in order of urgency."""
    now = time.time() if now is None else now
    async with store.read() as session:
        queues = (await session.scalars(sa.select(QueueRow).order_by(QueueRow.target_s, QueueRow.name))).all()
        found = []
        for queue in queues:
            if not visible(reviewer, [queue.name]):
                continue
            of_it = (ReviewItem.queue == queue.name, ReviewItem.gold.is_(None), *_theirs(reviewer))
            waiting = *of_it, ReviewItem.state == "open"
            soonest = sa.select(ReviewItem.created_at, ReviewItem.due_at).where(*waiting)
            first = (await session.execute(soonest.order_by(ReviewItem.due_at).limit(1))).first()
            found.append(
                Count(
                    queue.name,
                    queue.description,
                    queue.target_s,
                    open=await _count(session, *waiting),
                    contested=await _count(session, *of_it, ReviewItem.state == "contested"),
                    overdue=await _count(session, *waiting, ReviewItem.due_at < now),
                    oldest_s=max(0.0, now - first.created_at) if first else 0.0,
                    late_s=max(0.0, now - first.due_at) if first else 0.0,
                )
            )
    return found


def _theirs(reviewer: Reviewer) -> tuple[Any, ...]:
    """That an item is of the one tenant whose exchanges they may see, if there is but one."""
    if reviewer.tenant is None:
        return ()
    return (sa.exists().where(Exchange.id == ReviewItem.exchange_id, Exchange.tenant == reviewer.tenant),)


async def _count(session: AsyncSession, *conditions: Any) -> int:
    some = sa.select(sa.literal(1)).select_from(ReviewItem).where(*conditions).limit(COUNTED).subquery()
    return await session.scalar(sa.select(sa.func.count()).select_from(some)) or 0


def _cursor(after: str) -> tuple[float, float, str]:
    parts: Sequence[str] = after.split("/")
    try:
        number, at, item_id = parts
        return float(number), float(at), item_id
    except ValueError:
        raise ReviewError("this page is not known; begin at the first one") from None
