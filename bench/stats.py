"""Ratios of paired rounds, with bootstrap intervals. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4000


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the 95 % interval around it, from `rounds` paired rounds."""

    value: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    def document(self) -> dict[str, float]:
        return {"value": _short(self.value), "low": _short(self.low), "high": _short(self.high), "rounds": self.rounds}


def median_ratio(ours: Sequence[float], bare: Sequence[float], seed: int = 0) -> Interval:
    """The median of `ours[i] / bare[i]` over rounds run side by side. Percentile bootstrap over rounds (Efron 1979)."""
    ratios = np.asarray(ours, float) / np.asarray(bare, float)
    picks = _resampled(len(ratios), seed)
    return _interval(float(np.median(ratios)), np.median(ratios[picks], axis=1), len(ratios))


def quantile_ratio(
    ours: Sequence[Sequence[float]], bare: Sequence[Sequence[float]], quantile: float, seed: int = 0
) -> Interval:
    """The `quantile` of all values of ours over that of bare. `ours[i]` and `bare[i]` are the values of paired rounds.

    Rounds are resampled, not values: values of one round depend on each other.
    """
    mine, theirs = ([np.asarray(r, float) for r in side] for side in (ours, bare))

    def ratio(picked: Sequence[int] | NDArray[np.intp]) -> float:
        top, bottom = (np.quantile(np.concatenate([side[i] for i in picked]), quantile) for side in (mine, theirs))
        return float(top / bottom)

    resampled = np.array([ratio(pick) for pick in _resampled(len(mine), seed, RESAMPLES // 4)])
    return _interval(ratio(range(len(mine))), resampled, len(mine))


def _resampled(rounds: int, seed: int, resamples: int = RESAMPLES) -> NDArray[np.intp]:
    """Indices of shape (resamples, rounds)."""
    if rounds < 1:
        raise ValueError("no rounds to compare")
    return np.random.default_rng(seed).integers(rounds, size=(resamples, rounds))


def _interval(value: float, resampled: NDArray[np.float64], rounds: int) -> Interval:
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Interval(value, float(low), float(high), rounds)


def _short(number: float) -> float:
    return float(f"{number:.4g}")
