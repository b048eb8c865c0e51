"""What a reviewer decides. Decisions are never changed: a later one supersedes, undoing too is a later one."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from guards.taxonomy import CATEGORIES
from service.gate.exchange import Json
from service.ledger import audit
from service.ledger.desk import ClaimRow, DecisionRow, ReviewItem
from service.ledger.routing import RESTRICTED
from service.ledger.store import Store
from service.review import outbox
from service.review.claims import Claimed, claim, live_claim
from service.review.intake import open_item
from service.review.queue import case, in_force
from service.review.reviewer import RESTRICTED_QUEUE, Reviewer, ReviewError, Role, Unknown

Label = Literal["harmful", "ok", "unsure"]
Assessment = Literal["correct", "over_block", "missed", "too_late"]
UNDO_S: Final = 20.0  # a decision has no effect outside before
SAID: Final = ("input", "output", "action")


@dataclass(frozen=True, slots=True)
class Decision:
    """`input` and `output`: what the texts are. `action`: how good what the gate did was. None: not said.

    `severity`: 1 (slight) to 4 (grave). `confidence`: 0 to 1. `spans`: `(part, start, end, category)`, characters of
    one text. `guard_visible`: whether guards' scores were on the screen. `note`: why; sealed like the text.
    """

    reviewer: str
    input: Label | None = None
    output: Label | None = None
    action: Assessment | None = None
    categories: tuple[str, ...] = ()
    note: str = ""
    severity: int | None = None
    confidence: float | None = None
    spans: tuple[tuple[str, int, int, str], ...] = ()
    guard_visible: bool | None = None
    duration_s: float | None = None


async def decide(store: Store, exchange_id: str, decision: Decision) -> str:
    """Records a decision on an exchange, its item claimed for the moment; returns its id. Raises ReviewError.

    For the command line, whose user has the keys of everything: no clearance is asked for.
    """
    check(decision)
    found = await case(store, exchange_id)
    reviewer = Reviewer(decision.reviewer, frozenset(Role))
    item_id = await _item_of(store, found.exchange.id)
    held = await claim(store, item_id, reviewer)
    return await submit(store, held.token, decision)


async def submit(store: Store, token: str, decision: Decision, now: float | None = None) -> str:
    """Records the decision on the item that `token` claims, and frees it; returns the decision's id.

    The item is decided once as many reviewers as it wants have said the same; one that they disagree on, or are unsure
    of, is contested. Naming a restricted category restricts it from now on. Raises ReviewError.
    """
    check(decision)
    now = time.time() if now is None else now
    decision_id = "dec_" + uuid.uuid4().hex
    try:
        async with store.write() as connection:
            held = await live_claim(connection, token, now)
            if held.reviewer != decision.reviewer:
                raise ReviewError("this item is claimed by another reviewer")
            item = await locked(connection, held.item_id)
            row = _row(decision_id, item, decision, now, await _latest(connection, item.id, decision.reviewer))
            await connection.execute(sa.insert(DecisionRow).values(**row))
            if decision.note:
                await store.add_text(connection, item.exchange_id, decision_id, {"note": decision.note})
            await connection.execute(sa.delete(ClaimRow).where(ClaimRow.token == token))
            await settle(connection, item)
            await outbox.put(connection, "decided", decision_id, now + UNDO_S, item_id=item.id)
            await audit.append(connection, store.vault, decision.reviewer, "decide", item.id, decision_id=decision_id)
    except IntegrityError as error:
        raise ReviewError(_reason(error)) from error
    return decision_id


async def undo(store: Store, decision_id: str, reviewer: Reviewer, now: float | None = None) -> Claimed:
    """Takes a decision back within `UNDO_S`: what was in force before is again. Returns the item, claimed.

    Raises ReviewError when it is too late, not theirs, or no longer the latest.
    """
    now = time.time() if now is None else now
    async with store.write() as connection:
        mine = DecisionRow.id == decision_id, DecisionRow.reviewer == reviewer.name
        found = (await connection.execute(sa.select(DecisionRow.__table__).where(*mine))).first()
        if found is None or found.withdrawn:
            raise ReviewError("there is no such decision of yours")
        item = await locked(connection, found.item_id)
        if item.state == "adjudicated" or now - found.at > UNDO_S:
            raise ReviewError("it is too late to undo this; decide again instead")
        if await _latest(connection, item.id, reviewer.name) != decision_id:
            raise ReviewError("you decided again since; undo that one")
        await connection.execute(sa.insert(DecisionRow).values(**await _restored(connection, found, now)))
        await settle(connection, item)
        await outbox.cancel(connection, decision_id)
        await audit.append(connection, store.vault, reviewer.name, "undo", item.id, decision_id=decision_id)
    return await claim(store, item.id, reviewer, now)


def check(decision: Decision) -> None:
    """Raises ReviewError when the decision says nothing, or something unknown."""
    if not decision.reviewer.strip():
        raise ReviewError("a decision needs its reviewer's name")
    check_said(decision.input, decision.output, decision.action, decision.categories)
    if decision.severity is not None and decision.severity not in range(1, 5):
        raise ReviewError("severity is 1 (slight) to 4 (grave)")
    if decision.confidence is not None and not 0 <= decision.confidence <= 1:
        raise ReviewError("confidence is between 0 and 1")
    for _, start, end, category in decision.spans:
        if not 0 <= start < end:
            raise ReviewError(f"a span from {start} to {end} covers nothing")
        if category not in decision.categories:
            raise ReviewError(f"a span names {category!r}, which is not among the decision's categories")


def check_said(input_: str | None, output: str | None, action: str | None, categories: Sequence[str]) -> None:
    """Raises ReviewError when nothing is said, or something unknown."""
    if not (input_ or output or action):
        raise ReviewError("nothing is decided: say what the input, the output or the action was")
    for what, value, known in (
        ("input", input_, get_args(Label)),
        ("output", output, get_args(Label)),
        ("action", action, get_args(Assessment)),
        *(("category", c, tuple(CATEGORIES)) for c in categories),
    ):
        if value is not None and value not in known:
            raise ReviewError(f"{what} {value!r} is not known; it is one of: {', '.join(known)}")


async def settle(connection: AsyncConnection, item: Any) -> None:
    """Brings an item's count and state up to its decisions."""
    rows = (await connection.execute(sa.select(DecisionRow.__table__).where(DecisionRow.item_id == item.id))).all()
    said = in_force(rows)  # type: ignore[arg-type]  # rows have the same attributes
    if any(RESTRICTED.intersection(d.categories) for d in said):
        of_it = sa.update(ReviewItem).where(ReviewItem.exchange_id == item.exchange_id)
        await connection.execute(of_it.values(queue=RESTRICTED_QUEUE, priority=0))
    if item.gold is not None or item.state in ("adjudicated", "closed"):
        return
    state = "decided" if agreed(said) else "contested"
    if item.escalated_at is not None:
        state = "contested"
    elif len(said) < item.reviews_wanted:
        state = "open"
    change = sa.update(ReviewItem).where(ReviewItem.id == item.id)
    await connection.execute(change.values(reviews_done=len(said), state=state))


def agreed(said: Sequence[Any]) -> bool:
    """Whether decisions say the same, as far as they say anything, and none is unsure."""
    for what in SAID:
        values = {value for d in said if (value := getattr(d, what)) is not None}
        if len(values) > 1 or "unsure" in values:
            return False
    return True


async def locked(connection: AsyncConnection, item_id: str) -> Any:
    """The item's row, kept from others until the transaction ends. Raises ReviewError."""
    query = sa.select(ReviewItem.__table__).where(ReviewItem.id == item_id).with_for_update()
    if (row := (await connection.execute(query)).first()) is None:
        raise Unknown(f"there is no item {item_id!r}")
    return row


async def _item_of(store: Store, exchange_id: str) -> str:
    """The item that a decision on an exchange is about: one that waits before one that is done, else a new one."""
    waits = ReviewItem.state.in_(("open", "contested"))
    query = sa.select(ReviewItem.id).where(ReviewItem.exchange_id == exchange_id)
    query = query.where(ReviewItem.why.not_in(("gold", "appeal")), ReviewItem.state != "closed")
    async with store.write() as connection:
        known = await connection.scalar(query.order_by(waits.desc(), ReviewItem.created_at).limit(1))
        return known or await open_item(store, connection, exchange_id, "chosen")


async def _latest(connection: AsyncConnection, item_id: str, reviewer: str) -> str | None:
    """The id of their newest decision on the item."""
    newer = sa.orm.aliased(DecisionRow)
    query = sa.select(DecisionRow.id).where(DecisionRow.item_id == item_id, DecisionRow.reviewer == reviewer)
    return await connection.scalar(query.where(~sa.exists().where(newer.supersedes == DecisionRow.id)))


def _row(decision_id: str, item: Any, decision: Decision, now: float, earlier: str | None) -> Json:
    fields = ("reviewer", "input", "output", "action", "severity", "confidence", "guard_visible", "duration_s")
    return {
        "id": decision_id,
        "exchange_id": item.exchange_id,
        "item_id": item.id,
        "at": now,
        **{name: getattr(decision, name) for name in fields},
        "categories": list(decision.categories),
        "spans": [list(span) for span in decision.spans],
        "withdrawn": False,
        "supersedes": earlier,
    }


async def _restored(connection: AsyncConnection, undone: Any, now: float) -> Json:
    """A decision that says again what was in force before `undone`; a withdrawn one when nothing was."""
    new = {"id": "dec_" + uuid.uuid4().hex, "at": now, "supersedes": undone.id}
    if undone.supersedes is None:
        same: Json = undone._asdict()
        nothing = dict.fromkeys((*SAID, "severity", "confidence", "duration_s"))
        return {**same, **nothing, "categories": [], "spans": [], "withdrawn": True, **new}
    query = sa.select(DecisionRow.__table__).where(DecisionRow.id == undone.supersedes)
    before: Json = (await connection.execute(query)).one()._asdict()
    return before | new


def _reason(error: IntegrityError) -> str:
    """What the database's rule says, without the rest."""
    words = str(error.orig)
    for rule in ("nobody hears an appeal on their own", "whoever adjudicated an item does not decide it"):
        if rule in words:
            return f"{rule}; leave it to somebody else"
    return "another decision of yours came in between; look again and decide again"
