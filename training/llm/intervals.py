"""Intervals around means, and strengths from who was placed before whom. Pure; numpy only."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from guards.evaluation.metrics import Interval

DRAWS: Final = 2000
Wins = NDArray[np.float64]


def mean(values: Any, seed: int = 0) -> Interval:
    """The mean with a percentile bootstrap (Efron 1979)."""
    given = np.asarray(values, float)
    if not given.size:
        raise ValueError("there is no mean of nothing")
    drawn = given[_picks(given.size, seed)].mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Interval(float(given.mean()), float(low), float(high))


def resampled(of: Callable[[NDArray[np.int64]], float], count: int, seed: int = 0) -> Interval:
    """`of` the indices 0 to `count`, with a percentile bootstrap over them; draws that have no value are left out."""
    low, high = np.nanquantile([of(pick) for pick in _picks(count, seed)], (0.025, 0.975))
    return Interval(of(np.arange(count)), float(low), float(high))


def win_rate(ours: Any, theirs: Any, least: float = 1e-9) -> Interval:
    """How often ours[i] earns more than theirs[i]; differences below `least` are ties and count half."""
    difference = np.asarray(ours, float) - np.asarray(theirs, float)
    return mean(np.where(np.abs(difference) < least, 0.5, difference > 0))


def strengths(rankings: Sequence[Mapping[str, int]], seed: int = 0, draws: int = 400) -> dict[str, Interval]:
    """Bradley and Terry's model (1952) of rankings: name -> chance to be placed before an average other one.

    Args:
        rankings: each gives places, 1 is best; ties share a place and count half for both.
    """
    names = sorted({name for places in rankings for name in places})
    if len(names) < 2:
        raise ValueError("a ranking compares at least two")
    each = np.stack([_wins(places, names) for places in rankings])
    times = np.random.default_rng(seed).multinomial(len(each), np.full(len(each), 1 / len(each)), size=draws)
    drawn = _fit(np.asarray(np.tensordot(times, each, 1), np.float64))
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    value = _fit(each.sum(0)[None])[0]
    return {n: Interval(float(value[i]), float(low[i]), float(high[i])) for i, n in enumerate(names)}


def _wins(places: Mapping[str, int], names: Sequence[str]) -> Wins:
    """wins[a, b]: 1 where a was placed before b, half where they tie."""
    place = np.array([places.get(name, 0) for name in names], float)
    both = (place[:, None] > 0) & (place[None, :] > 0) & ~np.eye(len(names), dtype=bool)
    return np.where(both, np.where(place[:, None] == place[None, :], 0.5, place[:, None] < place[None, :]), 0.0)


def _fit(wins: Wins, rounds: int = 200) -> NDArray[np.float64]:
    """Strengths of shape (draws, names) from wins (draws, names, names), by Zermelo's iteration (1929, Hunter 2004).

    Half a win each way keeps all strengths finite.
    """
    wins = wins + 0.5 * ((wins + wins.swapaxes(1, 2)) > 0)
    games = wins + wins.swapaxes(1, 2)
    strength = np.ones(wins.shape[:2])
    for _ in range(rounds):
        strength = wins.sum(2) / (games / (strength[:, :, None] + strength[:, None, :])).sum(2)
        strength = strength / np.exp(np.log(strength).mean(1, keepdims=True))
    return np.asarray(strength / (strength + 1), float)


def _picks(count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(count, size=(DRAWS, count))
