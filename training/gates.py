"""Whether a candidate may take the serving guard's place: each way it could be worse is a check with an interval.

Both guards judge the same texts; differences are candidate - serving with 95 % intervals of a paired bootstrap, whole
groups drawn together. Pure: `training/compare.py` lets the guards judge.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from guards.calibration import Floats
from guards.document import Strict
from guards.evaluation.bias import FEWEST
from guards.evaluation.metrics import Groups, Interval, Labels, Ranking, resampled
from training import document

Metric = Callable[[Floats | None], float]  # of rows that are there so many times (None: once each); may be NaN
RECIPE: Final = Path(__file__).with_name("recipes") / "gates.yaml"


class Limit(Strict):
    """`worse`: so much lies within what nobody would notice; an interval wholly beyond it stops. `most`: so large a
    step for the worse stops whatever the interval, because few rows give wide ones."""

    worse: float = Field(ge=0)
    most: float = Field(gt=0)


class Thresholds(Strict):
    """`recipes/gates.yaml`."""

    ranking: Limit
    balanced: Limit
    calibration: Limit
    over_refusal: Limit
    bias: Limit
    latency: Limit
    fewest: int = Field(ge=2, description="rows of each label that a check needs")
    draws: int = Field(ge=20)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the report. `difference` is candidate - serving (of latency: its ratio); `better`: +1 where more is
    better, -1 where less is."""

    name: str
    set: str
    candidate: float
    serving: float
    difference: float
    low: float
    high: float
    passed: bool
    better: int = field(repr=False)
    category: str | None = None
    rows: int = 0

    def document(self) -> dict[str, Any]:
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Outcome:
    """All checks, and what was not checked and why."""

    checks: tuple[Check, ...]
    not_checked: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Never without a check: nothing measured is nothing passed."""
        return bool(self.checks) and all(c.passed for c in self.checks)

    def document(self) -> dict[str, Any]:
        checks = [c.document() for c in self.checks]
        return {"passed": self.passed, "checks": checks, "not_checked": list(self.not_checked)}


def thresholds(path: Path = RECIPE) -> Thresholds:
    """Raises DataError that names every fault."""
    return document.load(Thresholds, path)


def of_category(
    name: str,
    category: str,
    pair: tuple[Floats, Floats],
    labels: Labels,
    groups: Groups | None,
    limits: Thresholds,
    threshold: float = 0.5,
    calibrated: bool = False,
) -> Iterator[Check]:
    """Ranking (AUPRC), right at the threshold (mean of recall and specificity, of those there are rows for), and
    calibration where the set's shares are those of the traffic (`calibrated`)."""
    positive, negative = int(labels.sum()), int((1 - labels).sum())
    place, draws = (name, category, len(labels)), (len(labels), groups, limits)
    if max(positive, negative) < limits.fewest:
        return
    sides = [balanced(s >= threshold, labels, limits.fewest) for s in pair]
    yield check("balanced", place, sides, +1, limits.balanced, draws)
    if min(positive, negative) < limits.fewest:
        return
    rankings = [Ranking(s, labels) for s in pair]
    yield check("ranking", place, [_auprc(r) for r in rankings], +1, limits.ranking, draws)
    if calibrated:
        yield check("calibration", place, [r.calibration_error for r in rankings], -1, limits.calibration, draws)


def _auprc(ranking: Ranking) -> Metric:
    def metric(weights: Floats | None) -> float:
        curve = ranking.curve(weights)
        return curve.auprc() if curve.complete else float("nan")

    return metric


def balanced(flagged: NDArray[np.bool_], labels: Labels, fewest: int = 1) -> Metric:
    """Mean of the shares judged right of each label with at least `fewest` rows: it does not hang on how many of which
    kind a set has."""
    right = (flagged == (labels == 1)).astype(float)
    parts = [part for part in (labels == 1, labels == 0) if part.sum() >= fewest]

    def metric(weights: Floats | None) -> float:
        w = np.ones(len(labels)) if weights is None else weights
        return float(np.mean([(w * right)[p].sum() / w[p].sum() if w[p].sum() else np.nan for p in parts]))

    return metric


def bias(
    name: str,
    category: str,
    pair: tuple[Floats, Floats],
    labels: Labels,
    named: Sequence[frozenset[str]],
    groups: Groups | None,
    limits: Thresholds,
) -> Iterator[Check]:
    """How far the worst subgroup's AUC (subgroup, BPSN or BNSP: Borkan et al., 2019) lies under that of all rows."""
    parts = list(_subgroups(labels, named))
    if not parts:
        return
    whole = np.ones(len(labels), bool)

    def gap(scores: Floats) -> Metric:
        ranked = [(part, Ranking(scores[part], labels[part])) for part in (whole, *parts)]

        def metric(weights: Floats | None) -> float:
            overall, *others = (_auroc(r, None if weights is None else weights[p]) for p, r in ranked)
            return overall - float(np.nanmin(others))

        return metric

    place, draws = (name, category, len(labels)), (len(labels), groups, limits)
    yield check("bias", place, [gap(s) for s in pair], -1, limits.bias, draws)


def _auroc(ranking: Ranking, weights: Floats | None) -> float:
    curve = ranking.curve(weights)
    return curve.auroc() if curve.complete else float("nan")


def _subgroups(labels: Labels, named: Sequence[frozenset[str]]) -> Iterator[NDArray[np.bool_]]:
    for term in sorted(frozenset[str]().union(*named)):
        inside = np.array([term in names for names in named])
        parts = (inside, np.where(inside, labels == 0, labels == 1), np.where(inside, labels == 1, labels == 0))
        if all(min(labels[p].sum(), (1 - labels[p]).sum()) >= FEWEST for p in parts):
            yield from parts


def check(
    name: str,
    place: tuple[str, str | None, int],
    sides: Iterable[Metric],
    better: int,
    limit: Limit,
    draws: tuple[int, Groups | None, Thresholds],
) -> Check:
    """The difference of two metrics over the same draws, held to a limit.

    Args:
        place: set, category, rows.
        draws: rows, groups of them, and the thresholds that say how often to draw.
    """
    mine, theirs = sides
    rows, groups, limits = draws
    gaps = [mine(w) - theirs(w) for w in resampled(rows, groups, limits.seed, limits.draws)]
    candidate, serving = mine(None), theirs(None)
    known = [g for g in gaps if np.isfinite(g)]
    low, high = np.quantile(known, (0.025, 0.975)) if known else (np.nan, np.nan)
    found = Interval(candidate - serving, float(low), float(high))
    values = (candidate, serving, found.value, found.low, found.high)
    return Check(name, place[0], *values, allowed(found, better, limit), better, place[1], place[2])


def allowed(found: Interval, better: int, limit: Limit) -> bool:
    """Not when the whole interval lies on the wrong side by more than `worse`, nor when the value does by `most`.

    What cannot be told (NaN) is not allowed.
    """
    best = found.high if better > 0 else -found.low
    return bool(best >= -limit.worse and better * found.value >= -limit.most)
