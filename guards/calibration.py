"""From a model's logits to probabilities, and how far those are off. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Platt:
    """`sigmoid(slope * logit + intercept)`: Platt, Probabilistic Outputs for Support Vector Machines, 1999."""

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, logits: ArrayLike) -> Floats:
        """Probabilities of the same shape as `logits`."""
        return sigmoid(self.slope * np.asarray(logits, np.float64) + self.intercept)

    def shifted(self, operating_logit: float) -> "Platt":
        """The same curve moved so that `operating_logit` has probability .5."""
        return Platt(self.slope, -self.slope * operating_logit)


def sigmoid(x: ArrayLike) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(x, np.float64))))


def calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error with bins of equal width: Naeini et al., AAAI 2015. Zero is perfect.

    Raises:
        ValueError: no rows, or not as many labels as probabilities.
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels, np.float64)
    if p.shape != y.shape or not p.size:
        raise ValueError(f"one label a probability is needed, and at least one: {p.shape} and {y.shape}")
    nth = np.minimum((p * bins).astype(int), bins - 1)
    gaps = [abs(p[nth == b].sum() - y[nth == b].sum()) for b in range(bins)]
    return float(sum(gaps) / p.size)
