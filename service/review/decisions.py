"""What a reviewer decides. Decisions are never changed: a reviewer's later one supersedes the earlier."""

import time
import uuid
from dataclasses import dataclass
from typing import Literal, get_args

import sqlalchemy as sa

from guards.taxonomy import CATEGORIES
from service.ledger.models import DecisionRow
from service.ledger.store import Store
from service.review.queue import ReviewError, case

Label = Literal["harmful", "ok"]
Assessment = Literal["correct", "over_block", "missed", "too_late"]


@dataclass(frozen=True, slots=True)
class Decision:
    """`input` and `output`: what the texts are. `action`: how good what the gate did was. None: not said."""

    reviewer: str
    input: Label | None = None
    output: Label | None = None
    action: Assessment | None = None
    categories: tuple[str, ...] = ()
    note: str = ""


async def decide(store: Store, exchange_id: str, decision: Decision) -> str:
    """Records a decision and returns its id. A note is sealed like the text it may quote. Raises ReviewError."""
    check(decision)
    found = await case(store, exchange_id)
    earlier = next((d.id for d in found.in_force if d.reviewer == decision.reviewer), None)
    decision_id = "dec_" + uuid.uuid4().hex
    row = sa.insert(DecisionRow).values(
        id=decision_id,
        exchange_id=found.exchange.id,
        at=time.time(),
        reviewer=decision.reviewer,
        input=decision.input,
        output=decision.output,
        action=decision.action,
        categories=list(decision.categories),
        supersedes=earlier,
    )
    try:
        async with store.write() as connection:
            await connection.execute(row)
            if decision.note:
                await store.add_text(connection, found.exchange.id, decision_id, {"note": decision.note})
    except sa.exc.IntegrityError as error:  # two decisions of one reviewer at the same moment
        raise ReviewError("another decision of yours came in between; look again and decide again") from error
    return decision_id


def check(decision: Decision) -> None:
    """Raises ReviewError when the decision says nothing, or something unknown."""
    if not decision.reviewer.strip():
        raise ReviewError("a decision needs its reviewer's name")
    if not (decision.input or decision.output or decision.action):
        raise ReviewError("nothing is decided: say what the input, the output or the action was")
    for what, value, known in (
        ("input", decision.input, get_args(Label)),
        ("output", decision.output, get_args(Label)),
        ("action", decision.action, get_args(Assessment)),
        *(("category", c, tuple(CATEGORIES)) for c in decision.categories),
    ):
        if value is not None and value not in known:
            raise ReviewError(f"{what} {value!r} is not known; it is one of: {', '.join(known)}")
