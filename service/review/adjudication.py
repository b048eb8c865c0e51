"""The last word where reviewers disagree, are unsure or ask for help; and what they say to each other."""

import time
import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from service.ledger import audit
from service.ledger.desk import CAUSES, AdjudicationRow, ClaimRow, CommentRow, ReviewItem
from service.ledger.routing import RESTRICTED, TARGETS_S
from service.ledger.store import Store
from service.review import outbox
from service.review.decisions import Decision, check, locked
from service.review.reviewer import RESTRICTED_QUEUE, Reviewer, ReviewError, may_see


async def adjudicate(
    store: Store, item_id: str, adjudicator: Reviewer, said: Decision, cause: str, now: float | None = None
) -> str:
    """Settles a contested item for good; returns the adjudication's id. `said.note` is why, sealed.

    `cause`: why it was contested, one of `desk.CAUSES`. Nobody adjudicates what they decided. Raises ReviewError.
    """
    check(said)
    if cause not in CAUSES:
        raise ReviewError(f"cause {cause!r} is not known; it is one of: {', '.join(CAUSES)}")
    if not adjudicator.leads:
        raise ReviewError("adjudication is for leads")
    now = time.time() if now is None else now
    id_ = "adj_" + uuid.uuid4().hex
    row = {"id": id_, "item_id": item_id, "at": now, "adjudicator": adjudicator.name, "cause": cause}
    row |= {"input": said.input, "output": said.output, "action": said.action, "categories": list(said.categories)}
    try:
        async with store.write() as connection:
            item = await locked(connection, item_id)
            may_see(adjudicator, item.queue)
            if item.state != "contested":
                raise ReviewError(f"this item is {item.state}; only contested ones are adjudicated")
            await connection.execute(sa.insert(AdjudicationRow).values(**row, exchange_id=item.exchange_id))
            if said.note:
                await store.add_text(connection, item.exchange_id, id_, {"note": said.note})
            restricted = RESTRICTED.intersection(said.categories)
            change = {"state": "adjudicated"} | ({"queue": RESTRICTED_QUEUE} if restricted else {})
            await connection.execute(sa.update(ReviewItem).where(ReviewItem.id == item_id).values(**change))
            await connection.execute(sa.delete(ClaimRow).where(ClaimRow.item_id == item_id))
            await outbox.put(connection, "adjudicated", id_, now, item_id=item_id)
            await audit.append(connection, store.vault, adjudicator.name, "adjudicate", item_id, cause=cause)
    except IntegrityError as error:
        raise ReviewError("nobody adjudicates what they decided; leave it to somebody else") from error
    return id_


async def escalate(
    store: Store, item_id: str, reviewer: Reviewer, why: str, urgent: bool = False, now: float | None = None
) -> None:
    """Hands an item to a lead; `urgent`: somebody may be about to be hurt. `why` is sealed. Raises ReviewError."""
    now = time.time() if now is None else now
    async with store.write() as connection:
        item = await locked(connection, item_id)
        may_see(reviewer, item.queue)
        if item.gold is not None or item.state not in ("open", "contested"):
            raise ReviewError("this item cannot be escalated; say in a comment what is wrong")
        change = {"state": "contested", "escalated_at": now, "priority": 0}
        if urgent:
            queue = {} if item.queue == RESTRICTED_QUEUE else {"queue": "urgent"}
            change |= queue | {"due_at": min(item.due_at, now + TARGETS_S["urgent"])}
        await connection.execute(sa.update(ReviewItem).where(ReviewItem.id == item_id).values(**change))
        mine = ClaimRow.item_id == item_id, ClaimRow.reviewer == reviewer.name
        await connection.execute(sa.delete(ClaimRow).where(*mine))
        await audit.append(connection, store.vault, reviewer.name, "escalate", item_id, urgent=urgent)
    if why:
        await comment(store, item_id, reviewer, why, now)


async def comment(store: Store, item_id: str, author: Reviewer, text: str, now: float | None = None) -> str:
    """Seals a comment for those who look at the item later; returns its id. Raises ReviewError."""
    if not text.strip():
        raise ReviewError("the comment is empty")
    id_ = "com_" + uuid.uuid4().hex
    async with store.write() as connection:
        item = await locked(connection, item_id)
        may_see(author, item.queue)
        if item.state == "closed":
            raise ReviewError("the texts of this item are gone, and a comment would go with them")
        row = {"id": id_, "item_id": item_id, "author": author.name, "at": time.time() if now is None else now}
        await connection.execute(sa.insert(CommentRow).values(**row))
        await store.add_text(connection, item.exchange_id, id_, {"comment": text})
        await audit.append(connection, store.vault, author.name, "comment", item_id)
    return id_


async def comments(store: Store, item_id: str) -> Sequence[CommentRow]:
    """Oldest first; their texts are among those of the case, by their ids."""
    async with store.read() as session:
        query = sa.select(CommentRow).where(CommentRow.item_id == item_id).order_by(CommentRow.at)
        return (await session.scalars(query)).all()
