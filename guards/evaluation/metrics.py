"""How good scores are, with intervals: ranking, operating points, calibration. Pure; numpy only.

The curves are our own: a bootstrap of a thousand draws sorts once instead of a thousand times. A test holds them equal
to scikit-learn's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guards.calibration import Floats

Labels = NDArray[np.int64]
Groups = NDArray[np.int64]
BINS: Final = 15
Z95: Final = 1.959964
COMPARED: Final = ("auprc", "auroc", "recall_at_1pct_fpr")


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the 95 % interval around it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"

    def document(self) -> dict[str, float]:
        return {"value": round(self.value, 4), "low": round(self.low, 4), "high": round(self.high, 4)}


@dataclass(frozen=True, slots=True)
class Curve:
    """True and false positives at every distinct score, highest first; `thresholds[i]` is the lowest score counted."""

    thresholds: Floats
    hits: Floats
    false: Floats

    @property
    def complete(self) -> bool:
        return bool(self.hits[-1] > 0 and self.false[-1] > 0)

    def auprc(self) -> float:
        """Average precision: the step-wise area under precision over recall."""
        found = self.hits + self.false
        precision = np.divide(self.hits, found, out=np.zeros_like(found), where=found > 0)
        return float(np.sum(np.diff(self.hits, prepend=0.0) * precision) / self.hits[-1])

    def auroc(self) -> float:
        hits = np.concatenate([[0.0], self.hits])
        area = np.sum(np.diff(self.false, prepend=0.0) * (hits[1:] + hits[:-1]) / 2)
        return float(area / (self.hits[-1] * self.false[-1]))

    def best_f1(self) -> float:
        return float(np.max(2 * self.hits / (self.hits + self.false + self.hits[-1])))

    def f1(self, threshold: float) -> float:
        hits, false = self.at(threshold)
        return float(2 * hits / (hits + false + self.hits[-1]))

    def at(self, threshold: float) -> tuple[float, float]:
        """True and false positives when scores at or above `threshold` count."""
        nth = int(np.searchsorted(-self.thresholds, -threshold, side="right")) - 1
        return (float(self.hits[nth]), float(self.false[nth])) if nth >= 0 else (0.0, 0.0)

    def recall_at(self, false_share: float) -> float:
        """Highest recall at which at most that share of the negatives is flagged; ties count as false alarms."""
        allowed = self.hits[self.false <= np.floor(false_share * self.false[-1] + 1e-9)]
        return float(allowed[-1] / self.hits[-1]) if allowed.size else 0.0


class Ranking:
    """Scores with their labels (0 or 1), sorted once.

    Raises:
        ValueError: not as many labels as scores, or none.
    """

    def __init__(self, scores: Floats, labels: Labels) -> None:
        if scores.shape != labels.shape or not scores.size:
            raise ValueError(f"one label a score is needed, and at least one: {scores.shape} and {labels.shape}")
        self._order = np.argsort(-scores, kind="stable")
        ranked = scores[self._order]
        self._ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
        self._thresholds, self._labels = ranked[self._ends], labels[self._order].astype(float)
        self._bin = np.minimum((ranked * BINS).astype(int), BINS - 1).clip(0)
        self._ranked = ranked

    def curve(self, weights: Floats | None = None) -> Curve:
        """With `weights`: as if each row were there so many times."""
        w = np.ones(len(self._order)) if weights is None else weights[self._order]
        hits, all_ = np.cumsum(w * self._labels)[self._ends], np.cumsum(w)[self._ends]
        return Curve(self._thresholds, hits, all_ - hits)

    def calibration_error(self, weights: Floats | None = None) -> float:
        """Expected calibration error, 15 bins of equal width (Naeini et al., AAAI 2015)."""
        w = np.ones(len(self._order)) if weights is None else weights[self._order]
        gaps = np.bincount(self._bin, w * (self._ranked - self._labels), BINS)
        return float(np.abs(gaps).sum() / w.sum())

    def values(self, threshold: float, weights: Floats | None = None) -> dict[str, float] | None:
        """Every metric; None where one of the labels is missing."""
        curve = self.curve(weights)
        if not curve.complete:
            return None
        return {
            "auprc": curve.auprc(),
            "auroc": curve.auroc(),
            "f1_at_threshold": curve.f1(threshold),
            "best_f1": curve.best_f1(),
            "recall_at_1pct_fpr": curve.recall_at(0.01),
            "recall_at_0.1pct_fpr": curve.recall_at(0.001),
            "ece": self.calibration_error(weights),
        }


def measure(
    scores: Floats,
    labels: Labels,
    threshold: float = 0.5,
    groups: Groups | None = None,
    seed: int = 0,
    draws: int = 1000,
) -> dict[str, Interval]:
    """Each metric with a percentile bootstrap interval (Efron, 1979); whole groups are drawn where there are groups.

    Raises:
        ValueError: one of the labels is missing.
    """
    ranking = Ranking(scores, labels)
    value = ranking.values(threshold)
    if value is None:
        raise ValueError(f"both labels are needed: {int(labels.sum())} positive of {len(labels)} rows")
    drawn = [v for w in resampled(len(labels), groups, seed, draws) if (v := ranking.values(threshold, w))]
    return {name: _interval(value[name], [d[name] for d in drawn]) for name in value}


def compare(
    ours: Floats, theirs: Floats, labels: Labels, groups: Groups | None = None, seed: int = 0, draws: int = 1000
) -> dict[str, Interval]:
    """Differences ours - theirs, with intervals from the same draws for both: a paired bootstrap."""
    sides = [Ranking(scores, labels) for scores in (ours, theirs)]

    def gaps(weights: Floats | None) -> dict[str, float] | None:
        mine, other = (side.values(0.5, weights) for side in sides)
        return {name: mine[name] - other[name] for name in COMPARED} if mine and other else None

    value = gaps(None)
    if value is None:
        raise ValueError(f"both labels are needed: {int(labels.sum())} positive of {len(labels)} rows")
    drawn = [g for w in resampled(len(labels), groups, seed, draws) if (g := gaps(w))]
    return {name: _interval(value[name], [d[name] for d in drawn]) for name in COMPARED}


def resampled(rows: int, groups: Groups | None, seed: int, draws: int) -> Iterator[Floats]:
    """How often each row is there in each draw. `groups` numbers the group of each row, from 0."""
    random = np.random.default_rng(seed)
    count = rows if groups is None else int(groups.max()) + 1
    for _ in range(draws):
        times = np.bincount(random.integers(count, size=count), minlength=count).astype(float)
        yield times if groups is None else times[groups]


def numbered(names: Sequence[str]) -> Groups:
    """Group numbers from group names; an unnamed row is a group of its own."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(name or f"\0{nth}", len(known)) for nth, name in enumerate(names)], np.int64)


def wilson(hits: float, of: float) -> Interval:
    """A share with Wilson's interval (1927), honest at 0 and at 1. Of none, nothing is known: 0 to 1."""
    if of <= 0:
        return Interval(0.0, 0.0, 1.0)
    share, z2 = hits / of, Z95 * Z95
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = Z95 / (1 + z2 / of) * float(np.sqrt(share * (1 - share) / of + z2 / (4 * of * of)))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def reliability(scores: Floats, labels: Labels, bins: int = 10) -> list[Mapping[str, float]]:
    """For each filled bin of scores: rows, mean score, share of positives. On the diagonal a score is a probability."""
    nth = np.minimum((scores * bins).astype(int), bins - 1)
    return [
        {"rows": int(in_bin.sum()), "score": float(scores[in_bin].mean()), "positive": float(labels[in_bin].mean())}
        for b in range(bins)
        if (in_bin := nth == b).any()
    ]


def _interval(value: float, drawn: Sequence[float]) -> Interval:
    if not drawn:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Interval(value, float(low), float(high))
