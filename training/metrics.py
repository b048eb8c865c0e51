"""How good scores are, with intervals: the curves of `guards.evaluation`, each label drawn on its own. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from guards.calibration import Floats
from guards.evaluation.metrics import Interval, Labels, Ranking

NAMES: Final[Mapping[str, str]] = {
    "auprc": "auprc",
    "recall_at_1pct_fpr": "recall_at_1pct_fpr",
    "f1_at_half": "f1_at_threshold",
    "ece": "ece",
}
COMPARED: Final = ("auprc", "recall_at_1pct_fpr")


def values(ranking: Ranking, weights: Floats | None = None) -> dict[str, float]:
    """Each metric of `NAMES`. Raises ValueError when one of the labels is missing."""
    found = ranking.values(0.5, weights)
    if found is None:
        raise ValueError("both labels are needed: there is only one")
    return {ours: found[theirs] for ours, theirs in NAMES.items()}


def measure(scores: Floats, labels: Labels, seed: int = 0, draws: int = 1000) -> dict[str, Any]:
    """Each metric with its 95 % interval: percentile bootstrap over rows, each label on its own (Efron, 1979)."""
    ranking = Ranking(scores, labels)
    value, drawn = values(ranking), [values(ranking, w) for w in stratified(labels, seed, draws)]
    found: dict[str, Any] = {"rows": len(labels), "positive": int(labels.sum())}
    return found | {name: _around(value[name], [d[name] for d in drawn]) for name in NAMES}


def compare(ours: Floats, theirs: Floats, labels: Labels, seed: int = 0, draws: int = 1000) -> dict[str, Any]:
    """Differences ours - theirs with 95 % intervals from one bootstrap of rows for both (a paired bootstrap)."""
    sides = [Ranking(scores, labels) for scores in (ours, theirs)]

    def gaps(weights: Floats | None) -> dict[str, float]:
        mine, other = (values(side, weights) for side in sides)
        return {name: mine[name] - other[name] for name in COMPARED}

    value, drawn = gaps(None), [gaps(w) for w in stratified(labels, seed, draws)]
    return {name: _around(value[name], [d[name] for d in drawn]) for name in COMPARED}


def stratified(labels: Labels, seed: int, draws: int) -> Iterator[Floats]:
    """How often each row is there in each draw; both labels keep their number."""
    ones, zeros = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    random = np.random.default_rng(seed)
    for _ in range(draws):
        drawn = np.concatenate([random.choice(ones, len(ones)), random.choice(zeros, len(zeros))])
        yield np.bincount(drawn, minlength=len(labels)).astype(float)


def _around(value: float, drawn: list[float]) -> dict[str, float]:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Interval(value, float(low), float(high)).document()
