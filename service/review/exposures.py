"""What reviewers had before their eyes, and how much of it: to make breaks, not to measure people."""

import time
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from service.gate.exchange import Json
from service.ledger import audit
from service.ledger.desk import ExposureRow
from service.ledger.store import Store
from service.review.reviewer import Reviewer, ReviewError

ACTIONS: Final = ("view", "peek", "reveal", "personal_data")


@dataclass(frozen=True, slots=True)
class Meter:
    """Since a moment: characters, items, reveals, and characters by category."""

    chars: int
    items: int
    reveals: int
    by_category: dict[str, int]


async def expose(
    store: Store,
    item_id: str,
    reviewer: Reviewer,
    part: str,
    chars: int,
    action: str = "view",
    category: str | None = None,
    reason: str = "",
    now: float | None = None,
) -> None:
    """Writes down that `chars` characters of a text were shown. Personal data needs a `reason`. Raises ReviewError."""
    if action not in ACTIONS:
        raise ReviewError(f"action {action!r} is not known; it is one of: {', '.join(ACTIONS)}")
    if action == "personal_data" and not reason.strip():
        raise ReviewError("say why the personal data is needed")
    row: Json = {"id": "exp_" + uuid.uuid4().hex, "reviewer": reviewer.name, "item_id": item_id, "part": part}
    row |= {"category": category, "chars": chars, "action": action, "at": time.time() if now is None else now}
    async with store.write() as connection:
        await connection.execute(sa.insert(ExposureRow).values(**row))
        if action == "personal_data":
            await audit.append(connection, store.vault, reviewer.name, action, item_id, part=part, reason=reason)


async def meter(store: Store, reviewer: Reviewer, since: float) -> Meter:
    """What they were shown since a moment (unix seconds)."""
    query = sa.select(ExposureRow).where(ExposureRow.reviewer == reviewer.name, ExposureRow.at >= since)
    async with store.read() as session:
        rows = (await session.scalars(query)).all()
    by_category = Counter[str]()
    for row in rows:
        by_category[row.category or "other"] += row.chars
    return Meter(
        sum(row.chars for row in rows),
        len({row.item_id for row in rows}),
        sum(row.action != "view" for row in rows),
        dict(by_category),
    )
