"""What is covered until it is asked for, how much somebody was shown today, and when a break is due.

Covered text is not in the page: it comes with the POST that writes down that it was shown. That is for people's sake
and for the record. It protects no text from those who may ask for it, and a cover does not undo what reading does.
"""

import time
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from guards.taxonomy import CATEGORIES
from service.ledger.desk import DecisionRow, ExposureRow
from service.ledger.store import Store
from service.review.exposures import Meter, meter
from service.review.reviewer import Reviewer
from service.review.users import User

COVERED: Final = ("child_exploitation", "sex_crimes", "sexual", "self_harm", "violence", "violent_crimes", "threats")
STRETCH_S: Final = 50 * 60.0  # without a pause; then a break is due
PAUSE_S: Final = 5 * 60.0
DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Day:
    """Of one reviewer since midnight UTC. `budget_chars` is what the day is planned for. `stretch_s`: since a pause."""

    meter: Meter
    budget_chars: int
    decided: int
    pace_s: float | None
    stretch_s: float

    @property
    def share(self) -> int:
        """Per cent of the budget."""
        return round(100 * self.meter.chars / self.budget_chars)

    @property
    def break_due(self) -> bool:
        return self.stretch_s >= STRETCH_S or self.share >= 100


def covers(user: User, categories: tuple[str, ...]) -> bool:
    """Whether the text of an item of these categories waits behind a cover for them."""
    return bool(set(categories) & set(user.preferences.get("cover", COVERED)))


def coverable() -> list[str]:
    """Categories whose text can be covered, and that one can opt out of."""
    return [c.name for c in CATEGORIES.values() if c.group != "data"]


async def shown(store: Store, item_id: str, reviewer: Reviewer, since: float) -> dict[str, set[str]]:
    """What of an item was shown to them since a moment: `part@chunk` -> the actions that showed it."""
    query = sa.select(ExposureRow.part, ExposureRow.action).where(
        ExposureRow.reviewer == reviewer.name, ExposureRow.at >= since, ExposureRow.item_id == item_id
    )
    found: dict[str, set[str]] = {}
    async with store.read() as session:
        for part, action in await session.execute(query):
            found.setdefault(part, set()).add(action)
    return found


async def day(store: Store, reviewer: Reviewer, budget_chars: int, now: float | None = None) -> Day:
    now = time.time() if now is None else now
    midnight = now - now % DAY_S
    seen = sa.select(ExposureRow.at).where(ExposureRow.reviewer == reviewer.name, ExposureRow.at >= midnight)
    mine = sa.select(DecisionRow.duration_s).where(DecisionRow.reviewer == reviewer.name, DecisionRow.at >= midnight)
    async with store.read() as session:
        moments = sorted(await session.scalars(seen))
        lasted = sorted(d for d in await session.scalars(mine.where(~DecisionRow.withdrawn)) if d is not None)
    pace_s = lasted[len(lasted) // 2] if lasted else None
    return Day(await meter(store, reviewer, midnight), budget_chars, len(lasted), pace_s, _stretch(moments, now))


def _stretch(moments: list[float], now: float) -> float:
    """How long somebody has been at it without a pause."""
    begin = now
    for at in reversed(moments):
        if begin - at > PAUSE_S:
            break
        begin = at
    return now - begin
