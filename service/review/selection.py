"""What nobody was asked about yet, by its scores, for whoever picks what to label next; and what they picked."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from service.gate.exchange import Json
from service.ledger import audit
from service.ledger.desk import ReviewItem
from service.ledger.models import Content, Exchange
from service.ledger.store import Store
from service.review.intake import open_item


@dataclass(frozen=True, slots=True)
class Unreviewed:
    """`scores`: guard -> version, digest, the highest score of each category at input and output. No text."""

    exchange_id: str
    asked_at: float
    scores: Json


@dataclass(frozen=True, slots=True)
class Picked:
    """`reason`: by what it was chosen. `inclusion_probability`: how likely it was to be, above 0 and up to 1."""

    exchange_id: str
    reason: str
    inclusion_probability: float


@dataclass(frozen=True, slots=True)
class Asked:
    """`added`: false where somebody was asked about the exchange before; that item stays as it is."""

    exchange_id: str
    item_id: str
    added: bool


async def unreviewed(store: Store, limit: int) -> list[Unreviewed]:
    """Exchanges with scores and texts that nobody was asked about, but for waiting samples, newest first."""
    waits = (ReviewItem.why == "sample") & (ReviewItem.state == "open")
    asked = sa.exists().where(ReviewItem.exchange_id == Exchange.id, ~waits)
    kept = sa.exists().where(Content.exchange_id == Exchange.id)
    query = sa.select(Exchange.id, Exchange.asked_at, Exchange.scores).where(Exchange.scores.is_not(None))
    query = query.where(Exchange.erased_at.is_(None), ~asked, kept).order_by(Exchange.asked_at.desc()).limit(limit)
    async with store.read() as session:
        return [Unreviewed(id_, at, scores or {}) for id_, at, scores in (await session.execute(query)).all()]


async def ask_about(store: Store, picked: Sequence[Picked], by: str) -> list[Asked]:
    """An item for each, in the order given; all of them or none. Raises ReviewError.

    Of a sampled exchange the sample's item stays, and its probability is a factor: both draws had to take it.
    """
    found = []
    async with store.write() as connection:
        for one in picked:
            of_it = ReviewItem.exchange_id == one.exchange_id, ReviewItem.gold.is_(None)
            sampled = sa.select(ReviewItem.inclusion_probability).where(*of_it, ReviewItem.why == "sample")
            others = sa.select(ReviewItem.id).where(*of_it, ReviewItem.why != "sample").order_by(ReviewItem.created_at)
            chance = one.inclusion_probability * (await connection.scalar(sampled.limit(1)) or 1.0)
            known = await connection.scalar(others.limit(1))
            item_id = known or await open_item(
                store,
                connection,
                one.exchange_id,
                "selected",
                probability=chance,
                reason=one.reason,
            )
            found.append(Asked(one.exchange_id, str(item_id), known is None))
        added = sum(one.added for one in found)
        await audit.append(connection, store.vault, by, "select", "review_items", picked=len(found), added=added)
    return found
