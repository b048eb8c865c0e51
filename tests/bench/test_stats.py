"""The statistics of the benches."""

import numpy as np
import pytest

from bench.stats import Interval, median_ratio, quantile_ratio


def test_median_of_paired_ratios():
    """The ratio is taken within each pair, so what slows both sides of a round changes nothing."""
    bare = [1.0, 10.0, 100.0, 1.0, 10.0]
    ratio = median_ratio([1.5 * b for b in bare], bare)
    assert (ratio.value, ratio.low, ratio.high, ratio.rounds) == (1.5, 1.5, 1.5, 5)


def test_interval_holds_the_truth():
    """In about 95 of 100 noisy experiments the interval holds the true ratio, and it narrows with more rounds."""
    rng = np.random.default_rng(1)
    few, many = ([_noisy(rng, rounds) for _ in range(100)] for rounds in (10, 80))
    assert sum(i.low <= 1.2 <= i.high for i in few) >= 88
    assert np.mean([i.high - i.low for i in many]) < np.mean([i.high - i.low for i in few]) / 2


def _noisy(rng, rounds):
    bare = rng.lognormal(0, 0.5, rounds)
    return median_ratio(1.2 * bare * rng.lognormal(0, 0.1, rounds), bare, seed=int(rng.integers(1e9)))


def test_quantiles_are_of_all_values():
    """A quantile is of all values of all rounds; rounds, not values, are resampled."""
    bare = [[1.0, 2.0, 3.0], [4.0, 5.0]]
    ratio = quantile_ratio([[2 * v for v in r] for r in bare], bare, 0.5)
    assert (ratio.value, ratio.low, ratio.high, ratio.rounds) == (2.0, 2.0, 2.0, 2)
    assert quantile_ratio([[6.0]], [[1.0, 2.0, 3.0]], 0.99).value == pytest.approx(6 / 2.98)


def test_the_same_data_give_the_same_interval():
    """The bootstrap is seeded."""
    ours, bare = np.random.default_rng(2).lognormal(0, 1, (2, 30))
    assert median_ratio(ours, bare) == median_ratio(ours, bare)


def test_nothing_cannot_be_compared():
    """Without rounds there is no ratio."""
    with pytest.raises(ValueError, match="no rounds"):
        median_ratio([], [])


def test_figures_are_short():
    """Figures are written with four digits."""
    assert Interval(1.23456789, 1.1, 1.3, 3).document() == {"value": 1.235, "low": 1.1, "high": 1.3, "rounds": 3}
    assert str(Interval(1.234, 1.1, 1.3, 3)) == "1.23 (1.10 to 1.30)"
