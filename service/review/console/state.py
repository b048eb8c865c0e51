"""What a page must know of a reviewer and an item beside the item itself."""

import time
from collections.abc import Sequence

import sqlalchemy as sa

from service.gate.exchange import Json
from service.ledger.desk import ClaimRow, DecisionRow, RankingRow
from service.ledger.store import Store
from service.review.claims import Claimed, next_item, release_claim
from service.review.decisions import UNDO_S
from service.review.entries import counts
from service.review.reviewer import Reviewer


async def claim_of(store: Store, item_id: str, reviewer: Reviewer) -> ClaimRow | None:
    """Their live claim on an item."""
    mine = sa.select(ClaimRow).where(ClaimRow.item_id == item_id, ClaimRow.reviewer == reviewer.name)
    async with store.read() as session:
        return await session.scalar(mine.where(ClaimRow.leased_until > time.time()))


async def next_of(store: Store, reviewer: Reviewer) -> Claimed | None:
    """The next item of all queues that they may see, claimed."""
    return await next_item(store, reviewer, [c.queue for c in await counts(store, reviewer)])


async def give_all_back(store: Store, reviewer: Reviewer) -> None:
    """So that what somebody holds does not wait for them."""
    async with store.read() as session:
        tokens: Sequence[str] = (
            await session.scalars(sa.select(ClaimRow.token).where(ClaimRow.reviewer == reviewer.name))
        ).all()
    for token in tokens:
        await release_claim(store, token)


async def decision_of(store: Store, decision_id: str, reviewer: Reviewer) -> DecisionRow | None:
    """A decision of theirs."""
    mine = sa.select(DecisionRow).where(DecisionRow.id == decision_id, DecisionRow.reviewer == reviewer.name)
    async with store.read() as session:
        return await session.scalar(mine)


async def undoable(store: Store, decision_id: str, reviewer: Reviewer) -> Json | None:
    """What the page's undo needs for a decision; None when it is too late, or none of theirs."""
    found = await decision_of(store, decision_id, reviewer) if decision_id else None
    return taking_back("/undo", found) if found else None


def taking_back(path: str, said: DecisionRow | RankingRow) -> Json | None:
    """Where to send which id, and the seconds left for it; None when it is too late."""
    left = int(said.at + UNDO_S - time.time())
    return {"path": path, "id": said.id, "left": left} if left > 0 and not said.withdrawn else None
