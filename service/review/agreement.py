"""How far reviewers agree: raw, Cohen, Fleiss, Krippendorff, each with an interval, or the reason why there is none.

Pure. Labels are nominal. Sources: Cohen 1960; Fleiss 1971; Krippendorff 2011, "Computing Krippendorff's
Alpha-Reliability". Each is a few lines on a table of counts; the libraries that have them answer NaN without a reason.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ratings = Mapping[str, Mapping[str, str]]  # item -> reviewer -> label
Table = NDArray[np.float64]

DRAWS: Final = 1000
LEAST_ITEMS: Final = 10  # fewer say nothing


@dataclass(frozen=True, slots=True)
class Figure:
    """A statistic with its 95 % interval, or the `reason` why it has no value. `items` are those it rests on."""

    items: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """`prevalence` is the share of each label: where one is rare the kappas are low, however careful people are.

    `cohen` is of the two reviewers who share most items, `fleiss` of the items that most often have as many ratings.
    """

    raw: Figure
    cohen: Figure
    fleiss: Figure
    krippendorff: Figure
    prevalence: Mapping[str, float]


def agreement(ratings: Ratings, draws: int = DRAWS, seed: int = 0) -> Agreement:
    """All figures of one question. Intervals: percentiles of `draws` bootstrap samples of items."""
    counts = _counts(ratings)
    several = counts[counts.sum(1) >= 2]
    totals = counts.sum(0)
    return Agreement(
        raw=_figure(several, raw, draws, seed),
        cohen=_figure(_of_pair(ratings), cohen, draws, seed),
        fleiss=_figure(_evenly_rated(several), fleiss, draws, seed),
        krippendorff=_figure(several, krippendorff, draws, seed),
        prevalence={k: float(n / totals.sum()) for k, n in zip(_labels(ratings), totals, strict=True)},
    )


def raw(counts: Table) -> float:
    """Share of pairs of ratings of one item that agree, mean over items. Counts: (items, labels), rows of 2 or more."""
    given = counts.sum(1)
    return float(np.mean((counts * (counts - 1)).sum(1) / (given * (given - 1))))


def fleiss(counts: Table) -> float:
    """Fleiss' kappa. Counts: (items, labels), every row with the same sum. NaN where only one label was given."""
    return _beyond_chance(raw(counts), float(((counts.sum(0) / counts.sum()) ** 2).sum()))


def cohen(pairs: Table) -> float:
    """Cohen's kappa of two reviewers. Pairs: (items, labels of one + labels of the other), one-hot each."""
    one, other = np.split(pairs, 2, axis=1)
    return _beyond_chance(float((one * other).sum(1).mean()), float(one.mean(0) @ other.mean(0)))


def krippendorff(counts: Table) -> float:
    """Krippendorff's alpha, nominal; items may have different numbers of ratings, 2 or more."""
    given, totals = counts.sum(1), counts.sum(0)
    pairable = totals.sum()
    observed = ((counts * (counts - 1)).sum(1) / (given - 1)).sum() / pairable
    expected = (totals * (totals - 1)).sum() / (pairable * (pairable - 1))
    return _beyond_chance(float(observed), float(expected))


def _beyond_chance(observed: float, expected: float) -> float:
    return (observed - expected) / (1 - expected) if expected < 1 else float("nan")


def _figure(rows: Table, statistic: Callable[[Table], float], draws: int, seed: int) -> Figure:
    items = len(rows)
    if items < LEAST_ITEMS:
        return Figure(items, reason=f"{items} items were judged by the same people; {LEAST_ITEMS} are needed")
    value = statistic(rows)
    if np.isnan(value):
        return Figure(items, reason="everybody gave one and the same label: chance alone would agree as well")
    random = np.random.default_rng(seed)
    drawn = np.array([statistic(rows[random.integers(items, size=items)]) for _ in range(draws)])
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Figure(items, value, float(low), float(high))


def _labels(ratings: Ratings) -> list[str]:
    return sorted({label for given in ratings.values() for label in given.values()})


def _counts(ratings: Ratings) -> Table:
    labels = _labels(ratings)
    rows = [[Counter(given.values())[label] for label in labels] for given in ratings.values()]
    return np.array(rows, np.float64).reshape(len(ratings), len(labels))


def _evenly_rated(counts: Table) -> Table:
    """The rows with the number of ratings that most rows have."""
    given = counts.sum(1)
    if not len(given):
        return counts
    numbers, rows = np.unique(given, return_counts=True)
    return np.compress(given == numbers[rows.argmax()], counts, axis=0)


def _of_pair(ratings: Ratings) -> Table:
    """One-hot labels of the two reviewers who share most items."""
    shared = Counter(pair for given in ratings.values() for pair in combinations(sorted(given), 2))
    labels = _labels(ratings)
    if not shared:
        return np.zeros((0, 2 * len(labels)))
    one, other = shared.most_common(1)[0][0]
    both = [(given[one], given[other]) for given in ratings.values() if one in given and other in given]
    return np.array([[*(a == k for k in labels), *(b == k for k in labels)] for a, b in both], np.float64)
