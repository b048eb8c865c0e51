"""Who is at which item: leases that are kept alive by a heartbeat and end by themselves.

That no item has more live claims than reviews it still wants is a trigger of the database; here one looks first.
"""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from service.ledger import audit
from service.ledger.desk import AdjudicationRow, ClaimRow, DecisionRow, ReviewItem, SkipRow
from service.ledger.models import Exchange
from service.ledger.store import Store
from service.review.entries import ENTRIES, Entry, entry
from service.review.reviewer import Reviewer, ReviewError, Unknown, may_see, visible

LEASE_S: Final = 600.0
GOLD_SHARE: Final = 0.05
ROTATE_AFTER: Final = 8  # harmful items in a row; then a sampled one, which is mostly benign
SKIP_REASONS: Final = ("prefer_not_to_view", "language", "not_enough_context", "conflict_of_interest", "other")
_TRIES: Final = 20  # races lost in a row before one gives up for the moment


@dataclass(frozen=True, slots=True)
class Claimed:
    """An item that is the reviewer's until `leased_until` (unix seconds). Whoever has `token` may decide it."""

    item: Entry
    token: str
    leased_until: float


async def next_item(
    store: Store,
    reviewer: Reviewer,
    queues: Sequence[str] = ("urgent", "default"),
    now: float | None = None,
    gold_share: float = GOLD_SHARE,
) -> Claimed | None:
    """The item to look at next, claimed; the one held already, if any. None: nothing waits.

    Left out: what they decided or skipped, categories they opted out of, appeals against their own decisions. Now and
    then an item whose answer is known is among them, and after many harmful ones a sampled one.
    """
    queues = visible(reviewer, queues)
    for _ in range(_TRIES):
        moment = time.time() if now is None else now
        try:
            async with store.write() as connection:
                if (held := await _held(connection, reviewer, queues, moment)) is not None:
                    return held
                item_id = await _choose(connection, reviewer, queues, moment, gold_share)
                return await _take(connection, item_id, reviewer, moment) if item_id else None
        except IntegrityError:  # somebody was faster
            continue
    return None


async def claim(store: Store, item_id: str, reviewer: Reviewer, now: float | None = None) -> Claimed:
    """A certain item, to decide or adjudicate it. Raises ReviewError when it is held, gone, or not for them."""
    try:
        async with store.write() as connection:
            return await _take(connection, item_id, reviewer, time.time() if now is None else now)
    except IntegrityError:
        raise ReviewError("somebody else is at this item; take another, or wait until they are done") from None


async def heartbeat(store: Store, token: str, now: float | None = None) -> float:
    """Extends a lease; returns its end. Raises ReviewError when it ran out."""
    now = time.time() if now is None else now
    live = sa.update(ClaimRow).where(ClaimRow.token == token, ClaimRow.leased_until > now)
    async with store.write() as connection:
        if not (await connection.execute(live.values(leased_until=now + LEASE_S))).rowcount:
            raise ReviewError("your time with this item ran out; take it again")
    return now + LEASE_S


async def release_claim(store: Store, token: str) -> None:
    """Gives an item back undecided. Without effect when it is not held."""
    async with store.write() as connection:
        await connection.execute(sa.delete(ClaimRow).where(ClaimRow.token == token))


async def skip(store: Store, token: str, reason: str, now: float | None = None) -> None:
    """Gives an item back and does not serve it to them again; never counted against anyone. Raises ReviewError."""
    if reason not in SKIP_REASONS:
        raise ReviewError(f"reason {reason!r} is not known; it is one of: {', '.join(SKIP_REASONS)}")
    now = time.time() if now is None else now
    async with store.write() as connection:
        held = await live_claim(connection, token, now)
        row = {"item_id": held.item_id, "reviewer": held.reviewer, "reason": reason, "at": now}
        await connection.execute(store.insert(SkipRow).on_conflict_do_nothing(), row)
        await connection.execute(sa.delete(ClaimRow).where(ClaimRow.token == token))
        await audit.append(connection, store.vault, held.reviewer, "skip", held.item_id, reason=reason)


async def live_claim(connection: AsyncConnection, token: str, now: float) -> Any:
    """The row of a claim that has not run out. Raises ReviewError."""
    query = sa.select(ClaimRow.__table__).where(ClaimRow.token == token, ClaimRow.leased_until > now)
    if (row := (await connection.execute(query)).first()) is None:
        raise ReviewError("your time with this item ran out; take it again")
    return row


async def _held(connection: AsyncConnection, reviewer: Reviewer, queues: Sequence[str], now: float) -> Claimed | None:
    mine = sa.select(ClaimRow.__table__).join(ReviewItem, ReviewItem.id == ClaimRow.item_id)
    mine = mine.where(ClaimRow.reviewer == reviewer.name, ClaimRow.leased_until > now)
    mine = mine.where(ReviewItem.queue.in_(queues), ReviewItem.state == "open")
    if (row := (await connection.execute(mine.order_by(ClaimRow.taken_at).limit(1))).first()) is None:
        return None
    return Claimed(await _entry(connection, row.item_id), row.token, row.leased_until)


async def _choose(
    connection: AsyncConnection, reviewer: Reviewer, queues: Sequence[str], now: float, gold_share: float
) -> str | None:
    if gold_share and uuid.uuid4().int % 10_000 < gold_share * 10_000:
        gold = _served(reviewer).where(ReviewItem.gold.is_not(None), ReviewItem.queue.in_(queues))
        if (item_id := await connection.scalar(gold.order_by(ReviewItem.id).limit(1))) is not None:
            return str(item_id)
    benign = ReviewItem.priority == 3 if await _wants_a_change(connection, reviewer) else None
    for condition in (benign, sa.true()) if benign is not None else (sa.true(),):
        found = []
        for queue in queues:
            query = _waiting(reviewer, now).where(ReviewItem.queue == queue, condition)
            query = query.with_for_update(of=ReviewItem, skip_locked=True)
            if (row := (await connection.execute(query)).first()) is not None:
                found.append((row.priority, row.due_at, row.id))
        if found:
            return str(min(found)[2])
    return None


def _served(reviewer: Reviewer) -> Any:
    """Items that may be served to them at all."""
    first = DecisionRow.supersedes.is_(None)  # whoever decided has a first decision: that one is indexed
    mine = (
        sa.exists().where(DecisionRow.item_id == ReviewItem.id, DecisionRow.reviewer == reviewer.name, first),
        sa.exists().where(SkipRow.item_id == ReviewItem.id, SkipRow.reviewer == reviewer.name),
        sa.and_(
            ReviewItem.why == "appeal",
            sa.or_(
                sa.exists().where(
                    DecisionRow.exchange_id == ReviewItem.exchange_id, DecisionRow.reviewer == reviewer.name
                ),
                sa.exists().where(
                    AdjudicationRow.exchange_id == ReviewItem.exchange_id,
                    AdjudicationRow.adjudicator == reviewer.name,
                ),
            ),
        ),
        *(ReviewItem.categories.contains(f",{category},", autoescape=True) for category in sorted(reviewer.opt_out)),
    )
    query: Any = sa.select(ReviewItem.id, ReviewItem.priority, ReviewItem.due_at).where(ReviewItem.state == "open")
    if reviewer.tenant is not None:
        query = query.where(
            sa.exists().where(Exchange.id == ReviewItem.exchange_id, Exchange.tenant == reviewer.tenant)
        )
    return query.where(*(~condition for condition in mine))


def _waiting(reviewer: Reviewer, now: float) -> Any:
    others = sa.select(sa.func.count()).where(ClaimRow.item_id == ReviewItem.id, ClaimRow.leased_until > now)
    free = others.correlate(ReviewItem).scalar_subquery() < ReviewItem.reviews_wanted - ReviewItem.reviews_done
    query = _served(reviewer).where(ReviewItem.gold.is_(None), free)
    return query.order_by(ReviewItem.priority, ReviewItem.due_at, ReviewItem.id).limit(1)


async def _wants_a_change(connection: AsyncConnection, reviewer: Reviewer) -> bool:
    """Whether their last items were all flagged ones."""
    last = sa.select(ReviewItem.why).join(DecisionRow, DecisionRow.item_id == ReviewItem.id)
    last = last.where(DecisionRow.reviewer == reviewer.name).order_by(DecisionRow.at.desc()).limit(ROTATE_AFTER)
    whys = (await connection.scalars(last)).all()
    return len(whys) == ROTATE_AFTER and "sample" not in whys


async def _take(connection: AsyncConnection, item_id: str, reviewer: Reviewer, now: float) -> Claimed:
    await connection.execute(sa.select(ReviewItem.id).where(ReviewItem.id == item_id).with_for_update())
    item = await _entry(connection, item_id)
    may_see(reviewer, item.queue, item.tenant)
    if item.state == "closed":
        raise ReviewError("the texts of this item are gone; there is nothing to decide")
    mine = ClaimRow.item_id == item_id, ClaimRow.reviewer == reviewer.name
    await connection.execute(sa.delete(ClaimRow).where(*mine))
    token, until = uuid.uuid4().hex, now + LEASE_S
    row = {"item_id": item_id, "reviewer": reviewer.name, "token": token, "taken_at": now, "leased_until": until}
    await connection.execute(sa.insert(ClaimRow).values(**row))
    return Claimed(item, token, until)


async def _entry(connection: AsyncConnection, item_id: str) -> Entry:
    async with AsyncSession(connection, expire_on_commit=False) as session:
        row = (await session.execute(ENTRIES.where(ReviewItem.id == item_id))).first()
    if row is None:
        raise Unknown(f"there is no item {item_id!r}")
    return entry(row)
