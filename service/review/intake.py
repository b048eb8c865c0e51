"""How an exchange comes to be reviewed other than by being flagged or sampled: reports, appeals, gold, by choice."""

import time
import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.gate.exchange import Json
from service.ledger import audit
from service.ledger.desk import DecisionRow, QueueRow, ReviewItem
from service.ledger.models import Exchange, VerdictRow
from service.ledger.routing import new_item, route
from service.ledger.store import Store
from service.review.reviewer import RESTRICTED_QUEUE, ReviewError


async def open_item(
    store: Store,
    connection: AsyncConnection,
    exchange_id: str,
    why: str,
    gold: Json | None = None,
    reviews_wanted: int = 1,
    claimed: Sequence[str] = (),
    probability: float | None = None,
    reason: str | None = None,
) -> str:
    """The id of an item that asks about an exchange; the one that waits already, if there is one.

    `claimed`: categories that whoever asks names. `probability`: how likely it was to be picked, by `reason`. What was
    restricted stays so, whoever asks and why. Raises ReviewError.
    """
    exchange = (await connection.execute(sa.select(Exchange.__table__).where(Exchange.id == exchange_id))).first()
    if exchange is None:
        raise ReviewError(f"there is no exchange {exchange_id!r}")
    same = ReviewItem.exchange_id == exchange_id
    waits = sa.select(ReviewItem.id).where(same, ReviewItem.why == why, ReviewItem.state.in_(("open", "contested")))
    if (known := await connection.scalar(waits)) is not None:
        return str(known)
    found = sa.select(VerdictRow.category).where(VerdictRow.exchange_id == exchange_id, VerdictRow.error.is_(None))
    decided = await connection.scalars(sa.select(DecisionRow.categories).where(DecisionRow.exchange_id == exchange_id))
    categories = [*claimed, *(await connection.scalars(found)).all(), *(c for some in decided.all() for c in some)]
    row = new_item(exchange_id, why, time.time(), route(time.time(), categories, why), probability)
    if await connection.scalar(sa.select(sa.func.count()).where(same, ReviewItem.queue == RESTRICTED_QUEUE)):
        row |= {"queue": RESTRICTED_QUEUE, "priority": 0}
    wanted = await connection.scalar(sa.select(QueueRow.reviews_wanted).where(QueueRow.name == row["queue"]))
    row |= {"id": "item_" + uuid.uuid4().hex, "gold": gold, "reason": reason}
    row["reviews_wanted"] = max(reviews_wanted, wanted or 1)
    await connection.execute(sa.insert(ReviewItem).values(**row))
    return str(row["id"])


async def make_gold(store: Store, exchange_id: str, expected: Json, by: str) -> str:
    """An item whose answer is known: `{input?, output?, action?, categories?}`. Returns its id. Raises ReviewError."""
    if unknown := sorted(expected.keys() - {"input", "output", "action", "categories"}) or not expected:
        raise ReviewError(f"an expected answer says input, output, action or categories, and nothing else: {unknown}")
    async with store.write() as connection:
        item_id = await open_item(store, connection, exchange_id, "gold", expected)
        queue = await connection.scalar(sa.select(ReviewItem.queue).where(ReviewItem.id == item_id))
        if queue == RESTRICTED_QUEUE:
            raise ReviewError("what is restricted is shown to no more people than it must be")
        await audit.append(connection, store.vault, by, "gold", item_id, exchange_id=exchange_id)
    return item_id
