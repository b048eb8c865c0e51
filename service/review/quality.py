"""How good the guards are by their reviewers' word, and the reviewers by each other's. Pure but for `quality`.

Rates among reviewed items say something of those items only: flagged ones are no sample of the traffic. What guards let
pass is estimated from the random sample of allowed exchanges, each weighted by one over its inclusion probability.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from guards.evaluation.metrics import Interval, wilson
from service.ledger.desk import ReviewItem
from service.ledger.store import Store
from service.review.agreement import DRAWS, Agreement, agreement
from service.review.reviewed import Reviewed, reviewed

QUESTIONS: Final = ("input", "output", "action")
HELD_BACK: Final = frozenset({"refuse", "replace", "redact"})
ALL: Final = "all"


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `of`, with Wilson's 95 % interval; `rate` is None where there is nothing to tell it from."""

    hits: int
    of: int

    @property
    def rate(self) -> Interval | None:
        return wilson(self.hits, self.of) if self.of else None


@dataclass(frozen=True, slots=True)
class Overturn:
    """Of one guard and category. `over_block`: of the exchanges where text was held back for it, those where that was
    wrong. `missed`: of those that reviewers found to be of the category and the guard had scored, those it let pass.
    """

    guard: str
    category: str
    over_block: Share
    missed: Share


@dataclass(frozen=True, slots=True)
class Missed:
    """Harm among the exchanges that were allowed, from the random sample of them.

    `rate`: Hajek's estimator, with Wilson's interval at Kish's effective sample size; `exchanges`: the same as a number
    of allowed exchanges, of `allowed` (Horvitz and Thompson 1952: the sum of the weights of all that was sampled).
    Sampled items that nobody decided yet are taken to be like the others.
    """

    sampled: int
    decided: int
    harmful: int
    effective: float
    allowed: float
    rate: Interval | None
    exchanges: Interval | None


@dataclass(frozen=True, slots=True)
class Quality:
    """Since a moment (unix seconds). Agreement by queue, then by category (`all` first), of each question."""

    since: float
    by_queue: Mapping[str, Mapping[str, Agreement]]
    by_category: Mapping[str, Mapping[str, Agreement]]
    overturns: Sequence[Overturn]
    gold: Mapping[str, Share]
    missed: Missed


async def quality(store: Store, since: float | None = None, draws: int = DRAWS) -> Quality:
    """All figures, by default of the last 30 days; computed off the event loop."""
    since = time.time() - 30 * 86_400 if since is None else since
    rows, sampled = await reviewed(store, since), await _sampled(store, since)
    return await asyncio.to_thread(_figures, since, rows, sampled, draws)


def agreements(
    rows: Sequence[Reviewed], of: Callable[[Reviewed], str | None], draws: int = DRAWS
) -> dict[str, dict[str, Agreement]]:
    """Group -> question -> agreement. Gold items are left out: they are served to many on purpose."""
    ratings: dict[str, dict[str, dict[str, dict[str, str]]]] = defaultdict(lambda: {q: {} for q in QUESTIONS})
    for row in (row for row in rows if row.item.gold is None):
        for question in QUESTIONS:
            given = {d.reviewer: v for d in row.decisions if (v := getattr(d, question)) is not None}
            for group in (ALL, of(row)):
                if given and group is not None:
                    ratings[group][question][row.item.id] = given
    return {g: {q: agreement(rated, draws) for q, rated in ratings[g].items() if rated} for g in sorted(ratings)}


def overturns(rows: Sequence[Reviewed]) -> list[Overturn]:
    """By guard and category; of several items about one exchange, an appeal say, the latest that is final counts."""
    latest = {row.item.exchange_id: row for row in rows if row.final and row.item.gold is None}
    acted, wrong, harmful, passed = (Counter[tuple[str, str]]() for _ in range(4))
    for row in latest.values():
        claimed = {(h.guard, h.category) for h in row.held}
        if row.said.action is not None:
            held_back = {(h.guard, h.category) for h in row.held if h.action in HELD_BACK}
            acted.update(held_back)
            wrong.update(held_back if row.said.action == "over_block" else ())
        if _harmful(row):
            found = {(guard, c) for guard, scored in row.scored.items() for c in scored & row.said.categories}
            harmful.update(found | {(g, c) for g, c in claimed if c in row.said.categories})
            passed.update(found - claimed)
    return [
        Overturn(key[0], key[1], Share(wrong[key], acted[key]), Share(passed[key], harmful[key]))
        for key in sorted({*acted, *harmful})
    ]


def gold_accuracy(rows: Sequence[Reviewed]) -> dict[str, Share]:
    """Reviewer -> items of a known answer that they got right: all that it says, and its categories among theirs."""
    right, given = Counter[str](), Counter[str]()
    for row, expected in ((row, row.item.gold) for row in rows if row.item.gold is not None):
        for decision in row.decisions:
            named = set(expected.get("categories", ())) <= set(decision.categories)
            told = all(getattr(decision, q) == expected[q] for q in QUESTIONS if q in expected)
            right[decision.reviewer] += named and told
            given[decision.reviewer] += 1
    return {reviewer: Share(right[reviewer], given[reviewer]) for reviewer in sorted(given)}


def miss_rate(rows: Sequence[Reviewed], sampled: Sequence[float]) -> Missed:
    """`sampled`: inclusion probabilities of all sampled items, decided or not."""
    decided = [row for row in rows if row.item.why == "sample" and row.final and row.item.inclusion_probability]
    weights = [1 / row.item.inclusion_probability for row in decided if row.item.inclusion_probability]
    hits = [weight for row, weight in zip(decided, weights, strict=True) if _harmful(row)]
    allowed = sum(1 / probability for probability in sampled)
    if not weights:
        return Missed(len(sampled), 0, 0, 0.0, allowed, None, None)
    effective = sum(weights) ** 2 / sum(weight * weight for weight in weights)
    rate = wilson(effective * sum(hits) / sum(weights), effective)
    total = Interval(rate.value * allowed, rate.low * allowed, rate.high * allowed)
    return Missed(len(sampled), len(decided), len(hits), effective, allowed, rate, total)


def _harmful(row: Reviewed) -> bool:
    """Whether something went through, or was there, that should not have been. `correct` says that all was well."""
    said = row.said
    if row.item.why == "sample" and said.action is not None:
        return said.action in ("missed", "too_late")
    return "harmful" in (said.input, said.output) or said.action in ("missed", "too_late")


def _figures(since: float, rows: Sequence[Reviewed], sampled: Sequence[float], draws: int) -> Quality:
    return Quality(
        since,
        agreements(rows, lambda row: row.item.queue, draws),
        agreements(rows, lambda row: row.item.category, draws),
        overturns(rows),
        gold_accuracy(rows),
        miss_rate(rows, sampled),
    )


async def _sampled(store: Store, since: float) -> list[float]:
    of_sample = ReviewItem.why == "sample", ReviewItem.created_at >= since
    query = sa.select(ReviewItem.inclusion_probability).where(*of_sample)
    async with store.read() as session:
        return [probability for probability in await session.scalars(query) if probability]
