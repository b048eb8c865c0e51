"""What clients say of an exchange of theirs: kept beside it, never a label. A report asks reviewers to look."""

import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from guards.patterns import PatternGuard
from guards.redact import redact
from guards.verdict import Passage
from service.gate.exchange import Caller, Json
from service.ledger.desk import ReportRow, ReviewItem
from service.ledger.models import Exchange
from service.ledger.store import Store
from service.review.intake import open_item
from service.review.reviewer import RESTRICTED_QUEUE, Reviewer, ReviewError, Unknown

Kind = Literal["thumbs_up", "thumbs_down", "rating", "report"]
PAUSES_S: Final = (0.1, 0.2, 0.4, 0.8)  # what has just been answered takes a moment to be on record
_PERSONAL: Final = PatternGuard()


@dataclass(frozen=True, slots=True)
class Feedback:
    """`rating`: 1 to 5. `categories`: what a report says it is. `id`: the client's own; the same one counts once."""

    exchange_id: str
    kind: Kind
    rating: int | None = None
    categories: tuple[str, ...] = ()
    comment: str = ""
    preferred_answer: str = ""
    id: str | None = None


async def give(store: Store, caller: Caller, said: Feedback) -> str:
    """Keeps feedback on an exchange of the caller's tenant; returns its id. What was given under an id stays as it was.

    Texts are sealed, without the personal data that has a form. Raises Unknown, ReviewError.
    """
    exchange = await exchange_of(store, said.exchange_id, caller.tenant)
    texts = {name: scrubbed(text) for name in ("comment", "preferred_answer") if (text := getattr(said, name))}
    if texts and exchange.erased_at is not None:
        raise ReviewError("the texts of this exchange were erased; nothing is added to it")
    report_id = "rep_" + (uuid.uuid5(uuid.NAMESPACE_OID, f"{caller.tenant}/{said.id}") if said.id else uuid.uuid4()).hex
    row: Json = {"id": report_id, "exchange_id": exchange.id, "key_id": caller.key_id, "at": time.time()}
    row |= {"kind": said.kind, "rating": said.rating, "categories": list(said.categories)}
    try:
        await _keep(store, row, texts)
    except IntegrityError:  # the same came in between, or another report: it is there now
        await _keep(store, row, texts)
    return report_id


async def reports(store: Store, reviewer: Reviewer, kind: Kind | None = None, limit: int = 50) -> list[ReportRow]:
    """Feedback, newest first; what is restricted only for those of that clearance. Texts: in the case, by the id."""
    query = sa.select(ReportRow).order_by(ReportRow.at.desc()).limit(limit)
    if not reviewer.cleared:
        query = query.where(~kept_apart(ReportRow.exchange_id))
    if kind is not None:
        query = query.where(ReportRow.kind == kind)
    async with store.read() as session:
        return list(await session.scalars(query))


async def exchange_of(store: Store, exchange_id: str, tenant: str) -> Any:
    """The stored exchange. Raises Unknown, the same for another tenant's as for none, and as late."""
    mine = sa.select(Exchange.id, Exchange.outcome, Exchange.erased_at)
    mine = mine.where(Exchange.id == exchange_id, Exchange.tenant == tenant)
    for pause_s in (*PAUSES_S, None):
        async with store.read() as session:
            if (row := (await session.execute(mine)).first()) is not None:
                return row
        if pause_s is not None:
            await asyncio.sleep(pause_s)
    raise Unknown(f"there is no exchange {exchange_id!r} of yours on record")


async def _keep(store: Store, row: Json, texts: dict[str, str]) -> None:
    async with store.write() as connection:
        if await connection.scalar(sa.select(ReportRow.id).where(ReportRow.id == row["id"])):
            return
        opened = None
        if row["kind"] == "report":
            opened = await open_item(store, connection, row["exchange_id"], "report", claimed=row["categories"])
        await connection.execute(sa.insert(ReportRow).values(**row | {"item_id": opened}))
        if texts:
            await store.add_text(connection, row["exchange_id"], row["id"], texts)


def scrubbed(text: str) -> str:
    """Without addresses, numbers and keys that are known by their form; they are named in brackets instead."""
    (scores,) = _PERSONAL.judge([Passage(text)])
    return redact(text, scores.spans)


def kept_apart(exchange_id: Any) -> Any:
    """Whether the exchange of a column has an item in the restricted queue."""
    return sa.exists().where(ReviewItem.exchange_id == exchange_id, ReviewItem.queue == RESTRICTED_QUEUE)
