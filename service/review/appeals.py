"""Appeals against what was held back: heard by somebody who did not decide the first time, answered by a status."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from service.gate.exchange import Caller
from service.ledger.desk import AdjudicationRow, AppealRow, ClaimRow, DecisionRow, ReviewItem
from service.ledger.models import Exchange, VerdictRow
from service.ledger.store import Store
from service.review.decisions import UNDO_S
from service.review.feedback import exchange_of, kept_apart, scrubbed
from service.review.intake import open_item
from service.review.quality import HELD_BACK
from service.review.queue import in_force
from service.review.reviewed import conclusion
from service.review.reviewer import Reviewer, ReviewError, Unknown

Status = Literal["received", "in_review", "upheld", "overturned"]
FINAL: Final = frozenset({"upheld", "overturned"})


@dataclass(frozen=True, slots=True)
class Appeal:
    """`upheld`: what was held back stays so. `overturned`: it should not have been. Times in unix seconds."""

    id: str
    exchange_id: str
    item_id: str
    status: Status
    at: float
    decided_at: float | None


@dataclass(frozen=True, slots=True)
class Hearing:
    """Where the item of an appeal stands. `heard_at`: the last word on it."""

    state: str
    outcome: str
    taken: bool
    decisions: Sequence[Any]
    adjudications: Sequence[Any]

    @property
    def heard_at(self) -> float:
        return float(max(row.at for row in (*self.adjudications[-1:], *self.decisions)))


async def appeal(store: Store, caller: Caller, exchange_id: str, statement: str) -> Appeal:
    """Lodges the one appeal of an exchange of the caller's tenant; the one that is there, if there is one.

    The statement is sealed, without the personal data that has a form. Raises Unknown, ReviewError.
    """
    exchange = await exchange_of(store, exchange_id, caller.tenant)
    if exchange.erased_at is not None:
        raise ReviewError("the texts of this exchange were erased; there is nothing left to look at")
    try:
        return await _lodged(store, caller, exchange, statement)
    except IntegrityError:  # another appeal came in between: it is there now
        return await _lodged(store, caller, exchange, statement)


async def status(store: Store, appeal_id: str, tenant: str, now: float | None = None) -> Appeal:
    """An appeal of the tenant as it stands; what was answered once stays. Raises Unknown."""
    async with store.read() as session:
        row = await session.get(AppealRow, appeal_id)
    if row is None:
        raise Unknown(f"there is no appeal {appeal_id!r} of yours")
    try:
        await exchange_of(store, row.exchange_id, tenant)
    except Unknown:
        raise Unknown(f"there is no appeal {appeal_id!r} of yours") from None
    return await _brought_up(store, row, time.time() if now is None else now)


async def appeals(store: Store, reviewer: Reviewer, limit: int = 50, now: float | None = None) -> list[Appeal]:
    """Newest first, as they stand; what is restricted only for those of that clearance."""
    query = sa.select(AppealRow).order_by(AppealRow.at.desc()).limit(limit)
    if not reviewer.cleared:
        query = query.where(~kept_apart(AppealRow.exchange_id))
    async with store.read() as session:
        rows = (await session.scalars(query)).all()
    return [await _brought_up(store, row, time.time() if now is None else now) for row in rows]


def standing(hearing: Hearing, now: float) -> Status | None:
    """What to tell of it. None: nothing new, its texts are gone.

    A decision is told once it can no longer be undone. One that does not call the holding back wrong upholds it.
    """
    if hearing.state == "closed":
        return None
    heard = hearing.state == "adjudicated" or (hearing.state == "decided" and now - hearing.heard_at > UNDO_S)
    if not heard:
        under_way = hearing.taken or hearing.decisions or hearing.state != "open"
        return "in_review" if under_way else "received"
    said = conclusion(hearing.decisions, hearing.adjudications)
    refused = said.input if hearing.outcome == "refused_input" else said.output
    wrong = said.action == "over_block" or (said.action is None and refused == "ok")
    return "overturned" if wrong else "upheld"


async def _lodged(store: Store, caller: Caller, exchange: Any, statement: str) -> Appeal:
    appeal_id, now = "app_" + uuid.uuid4().hex, time.time()
    async with store.write() as connection:
        known = sa.select(AppealRow.__table__).where(AppealRow.exchange_id == exchange.id)
        if (row := (await connection.execute(known)).first()) is not None:
            return _appeal(row)
        held = sa.select(VerdictRow.guard).where(VerdictRow.exchange_id == exchange.id, VerdictRow.mode == "enforce")
        held = held.where(VerdictRow.action.in_(HELD_BACK), VerdictRow.error.is_(None)).limit(1)
        if (await connection.execute(held)).first() is None:
            raise ReviewError("nothing of this exchange was held back; for anything else use POST /v1/feedback")
        item_id = await open_item(store, connection, exchange.id, "appeal")
        found = Appeal(appeal_id, exchange.id, item_id, "received", now, None)
        values = {name: getattr(found, name) for name in Appeal.__slots__}
        await connection.execute(sa.insert(AppealRow).values(**values, key_id=caller.key_id))
        await store.add_text(connection, exchange.id, appeal_id, {"statement": scrubbed(statement)})
    return found


async def _brought_up(store: Store, row: AppealRow, now: float) -> Appeal:
    """The appeal as it stands; a new status is written down."""
    known = _appeal(row)
    if known.status in FINAL:
        return known
    async with store.read() as session:
        hearing = await _hearing(session, row.item_id, now)
    stands = standing(hearing, now)
    if stands is None or stands == known.status:
        return known
    found = replace(known, status=stands, decided_at=hearing.heard_at if stands in FINAL else None)
    change = sa.update(AppealRow).where(AppealRow.id == row.id, AppealRow.status.not_in(FINAL))
    async with store.write() as connection:
        await connection.execute(change.values(status=found.status, decided_at=found.decided_at))
    return found


async def _hearing(session: AsyncSession, item_id: str, now: float) -> Hearing:
    of_it = sa.select(ReviewItem.state, Exchange.outcome).join(Exchange).where(ReviewItem.id == item_id)
    state, outcome = (await session.execute(of_it)).one()
    claims = sa.select(ClaimRow.token).where(ClaimRow.item_id == item_id, ClaimRow.leased_until > now)
    decisions = sa.select(DecisionRow).where(DecisionRow.item_id == item_id).order_by(DecisionRow.at)
    settled = sa.select(AdjudicationRow).where(AdjudicationRow.item_id == item_id)
    return Hearing(
        state,
        outcome,
        (await session.scalar(claims.limit(1))) is not None,
        in_force((await session.scalars(decisions)).all()),
        (await session.scalars(settled)).all(),
    )


def _appeal(row: Any) -> Appeal:
    return Appeal(**{name: getattr(row, name) for name in Appeal.__slots__})
