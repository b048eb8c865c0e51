"""How good scores are: area under precision-recall, recall at few false alarms, calibration, with intervals. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score

from guards.calibration import Floats, calibration_error

Labels = NDArray[np.int64]
Metric = Callable[[Floats, Labels], float]


def auprc(scores: Floats, labels: Labels) -> float:
    return float(average_precision_score(labels, scores))


def recall_at_one_percent(scores: Floats, labels: Labels) -> float:
    """Share of positives above the score that at most 1 % of the negatives exceed; ties count as false alarms."""
    negatives = np.sort(scores[labels == 0])[::-1]
    threshold = negatives[int(0.01 * len(negatives))]
    return float((scores[labels == 1] > threshold).mean())


def f1_at_half(scores: Floats, labels: Labels) -> float:
    return float(f1_score(labels, scores >= 0.5, zero_division=0))


METRICS: Final[Mapping[str, Metric]] = {
    "auprc": auprc,
    "recall_at_1pct_fpr": recall_at_one_percent,
    "f1_at_half": f1_at_half,
    "ece": calibration_error,
}


def measure(scores: Floats, labels: Labels, seed: int = 0, draws: int = 1000) -> dict[str, Any]:
    """Each metric with its 95 % interval: percentile bootstrap over rows, each label on its own (Efron, 1979)."""
    ones, zeros = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    if not len(ones) or not len(zeros):
        raise ValueError(f"both labels are needed: {len(ones)} positive and {len(zeros)} negative rows")
    random = np.random.default_rng(seed)
    drawn = [np.concatenate([random.choice(ones, len(ones)), random.choice(zeros, len(zeros))]) for _ in range(draws)]
    found: dict[str, Any] = {"rows": len(labels), "positive": len(ones)}
    for name, metric in METRICS.items():
        low, high = np.quantile([metric(scores[i], labels[i]) for i in drawn], (0.025, 0.975))
        found[name] = {"value": _round(metric(scores, labels)), "low": _round(low), "high": _round(high)}
    return found


def compare(ours: Floats, theirs: Floats, labels: Labels, seed: int = 0, draws: int = 1000) -> dict[str, Any]:
    """Differences ours - theirs with 95 % intervals from one bootstrap of rows for both (a paired bootstrap)."""
    ones, zeros = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    random = np.random.default_rng(seed)
    drawn = [np.concatenate([random.choice(ones, len(ones)), random.choice(zeros, len(zeros))]) for _ in range(draws)]
    found: dict[str, Any] = {}
    for name in ("auprc", "recall_at_1pct_fpr"):
        metric = METRICS[name]
        gaps = [metric(ours[i], labels[i]) - metric(theirs[i], labels[i]) for i in drawn]
        low, high = np.quantile(gaps, (0.025, 0.975))
        gap = metric(ours, labels) - metric(theirs, labels)
        found[name] = {"value": _round(gap), "low": _round(low), "high": _round(high)}
    return found


def _round(value: float) -> float:
    return round(float(value), 4)
