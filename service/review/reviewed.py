"""What reviewers have said so far, item by item: what figures of quality, and answers to appeals, rest on. No text."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from service.gate.exchange import Json
from service.ledger.desk import AdjudicationRow, DecisionRow, ReviewItem
from service.ledger.models import Exchange, VerdictRow
from service.ledger.store import Store
from service.review.export import majority
from service.review.queue import in_force


@dataclass(frozen=True, slots=True)
class Said:
    """What was found of an exchange. None: not said, or there is no majority for anything."""

    input: str | None
    output: str | None
    action: str | None
    categories: frozenset[str]


@dataclass(frozen=True, slots=True)
class Held:
    """What a guard claimed and the policy did about it, in a rule that is enforced."""

    guard: str
    category: str
    action: str


@dataclass(frozen=True, slots=True)
class Reviewed:
    """An item that somebody decided. `decisions`: those in force. `scored`: guard -> categories that it scored."""

    item: ReviewItem
    outcome: str
    decisions: Sequence[DecisionRow]
    said: Said
    held: frozenset[Held]
    scored: dict[str, frozenset[str]]

    @property
    def final(self) -> bool:
        return self.item.state in ("decided", "adjudicated")


def conclusion(decisions: Sequence[Any], adjudications: Sequence[Any] = ()) -> Said:
    """The adjudication's word, else the majority's of the decisions in force, with the categories they named."""
    spoken = adjudications[-1:] or in_force(decisions)
    input_, output, action = (
        majority([v for d in spoken if (v := getattr(d, what)) is not None])[0]
        for what in ("input", "output", "action")
    )
    agreeing = [d for d in spoken if (d.input, d.output, d.action) == (input_, output, action)] or spoken
    return Said(input_, output, action, frozenset(c for d in agreeing for c in d.categories))


async def reviewed(store: Store, since: float = 0.0) -> list[Reviewed]:
    """Items made since a moment (unix seconds) that somebody decided, oldest first."""
    decided = sa.exists().where(DecisionRow.item_id == ReviewItem.id)
    chosen = sa.select(ReviewItem.id).where(ReviewItem.created_at >= since, decided)
    exchanges = sa.select(ReviewItem.exchange_id).where(ReviewItem.id.in_(chosen))
    of_items = sa.select(ReviewItem, Exchange.outcome, Exchange.scores).join(Exchange)
    async with store.read() as session:
        items = (await session.execute(of_items.where(ReviewItem.id.in_(chosen)).order_by(ReviewItem.created_at))).all()
        query = sa.select(DecisionRow).where(DecisionRow.item_id.in_(chosen)).order_by(DecisionRow.at)
        decisions = _by((await session.scalars(query)).all(), "item_id")
        settled = sa.select(AdjudicationRow).where(AdjudicationRow.item_id.in_(chosen))
        adjudications = _by((await session.scalars(settled)).all(), "item_id")
        columns = VerdictRow.exchange_id, VerdictRow.guard, VerdictRow.category, VerdictRow.action
        enforced = VerdictRow.mode == "enforce", VerdictRow.error.is_(None), VerdictRow.exchange_id.in_(exchanges)
        verdicts = _by((await session.execute(sa.select(*columns).where(*enforced).distinct())).all(), "exchange_id")
    return [
        Reviewed(
            item,
            outcome,
            in_force(decisions[item.id]),
            conclusion(decisions[item.id], adjudications[item.id]),
            frozenset(Held(v.guard, v.category, v.action) for v in verdicts[item.exchange_id]),
            _scored(scores or {}),
        )
        for item, outcome, scores in items
        if in_force(decisions[item.id])
    ]


def _by(rows: Sequence[Any], column: str) -> defaultdict[str, list[Any]]:
    found = defaultdict[str, list[Any]](list)
    for row in rows:
        found[getattr(row, column)].append(row)
    return found


def _scored(scores: Json) -> dict[str, frozenset[str]]:
    return {guard: frozenset(known["input"]) | frozenset(known["output"]) for guard, known in scores.items()}
