"""What a guard in shadow said beside the one in force, by category: where they agree, and whom people agree with."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from guards.evaluation.metrics import Interval, wilson
from service.learning.lineage import Version
from service.ledger.desk import AdjudicationRow, DecisionRow
from service.ledger.lineage import BesideRow
from service.ledger.store import Store
from service.review.queue import in_force
from service.review.reviewed import Said, conclusion

MOST: Final = 20_000  # exchanges, the newest ones
GENERAL: Final = {"input": "harm", "output": "response_harm"}


@dataclass(frozen=True, slots=True)
class Human:
    """Exchanges that people decided in a way that says what the category is: who was right about how many."""

    decided: int
    harmful: int
    enforced: int
    shadow: int


@dataclass(frozen=True, slots=True)
class Category:
    """Of one stage and category: how many exchanges both scored, and on how many both or one crossed the threshold."""

    stage: str
    category: str
    judged: int
    only_enforced: int
    only_shadow: int
    human: Human

    @property
    def agreed(self) -> int:
        return self.judged - self.only_enforced - self.only_shadow

    @property
    def agreement(self) -> Interval | None:
        return wilson(self.agreed, self.judged) if self.judged else None


@dataclass(frozen=True, slots=True)
class Report:
    """`against`: the digest of the guard in force, the newest of them. `since`: the oldest of `exchanges`."""

    id: str
    against: str | None
    since: float | None
    exchanges: int
    categories: Sequence[Category]


async def report(store: Store, version: Version) -> Report:
    """Of the newest exchanges that both judged, at most `MOST`."""
    query = sa.select(BesideRow).where(BesideRow.digest == version.digest).order_by(BesideRow.at.desc())
    async with store.read() as session:
        rows = (await session.scalars(query.limit(MOST))).all()
        against = rows[0].enforced if rows else None
        rows = [row for row in rows if row.enforced == against]
        said = await _said(session, version.digest)
    return Report(version.id, against, min((r.at for r in rows), default=None), len(rows), list(categories(rows, said)))


def categories(rows: Iterable[BesideRow], said: Mapping[str, Said]) -> Iterable[Category]:
    """Pure. What only one of the two scored counts nowhere."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in rows:
        for stage, scored in row.scores.items():
            for category, (enforced, shadow, threshold) in scored.items():
                if enforced is not None and shadow is not None:
                    fired = enforced >= threshold, shadow >= threshold
                    counts[stage, category].update(_seen(*fired, _label(said.get(row.exchange_id), stage, category)))
    for (stage, category), seen in sorted(counts.items()):
        human = Human(seen["decided"], seen["harmful"], seen["enforced_right"], seen["shadow_right"])
        yield Category(stage, category, seen["judged"], seen["only_enforced"], seen["only_shadow"], human)


def _seen(enforced: bool, shadow: bool, label: bool | None) -> Iterable[str]:
    yield "judged"
    if enforced != shadow:
        yield "only_enforced" if enforced else "only_shadow"
    if label is not None:
        yield "decided"
        yield from ("harmful",) if label else ()
        yield from ("enforced_right",) if enforced == label else ()
        yield from ("shadow_right",) if shadow == label else ()


def _label(said: Said | None, stage: str, category: str) -> bool | None:
    """What people said of a category; None where what they said does not tell."""
    label = getattr(said, stage) if said else None
    if said is None or label not in ("ok", "harmful"):
        return None
    if label == "ok":
        return False
    return True if category == GENERAL[stage] or category in said.categories else None


async def _said(session: AsyncSession, digest: str) -> dict[str, Said]:
    judged = sa.select(BesideRow.exchange_id).where(BesideRow.digest == digest)
    decided = sa.select(DecisionRow).where(DecisionRow.exchange_id.in_(judged)).order_by(DecisionRow.at)
    settled = sa.select(AdjudicationRow).where(AdjudicationRow.exchange_id.in_(judged)).order_by(AdjudicationRow.at)
    decisions, adjudications = defaultdict[str, list[DecisionRow]](list), defaultdict[str, list[AdjudicationRow]](list)
    for decision in await session.scalars(decided):
        decisions[decision.exchange_id].append(decision)
    for adjudication in await session.scalars(settled):
        adjudications[adjudication.exchange_id].append(adjudication)
    return {id_: conclusion(of, adjudications[id_]) for id_, of in decisions.items() if in_force(of)}
