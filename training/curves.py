"""Learning curves: how few labels do as well as random's, with intervals over seeds, and a plot of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DRAWS: Final = 1000


def labels_needed(curves: Floats, random: Floats, budgets: Sequence[int]) -> float:
    """Labels at which the mean curve reaches what random reaches with all of them, as a share of these; inf: never.

    Curves: (seeds, 1 + budgets), the first without any label.
    """
    at = np.array([0, *budgets], np.float64)
    goal, mean = random.mean(0)[-1], curves.mean(0)
    over = np.flatnonzero(mean >= goal)
    if not len(over) or over[0] == 0:
        return 0.0 if len(over) else float("inf")
    n = int(over[0])
    step = (goal - mean[n - 1]) / (mean[n] - mean[n - 1])
    return float((at[n - 1] + step * (at[n] - at[n - 1])) / at[-1])


def report(found: Mapping[str, Mapping[str, Floats]], budgets: Sequence[int], draws: int = DRAWS) -> dict[str, Any]:
    """By source and strategy: the curve, and the share of random's labels it needs, with 95 % intervals over seeds.

    `mean_share`: over the sources, of strategies that reach random's last value on each; `best`: the least of them.
    """
    sources = {
        source: {name: _figures(curves[name], curves["random"], budgets, draws) for name in curves}
        for source, curves in found.items()
    }
    shares: dict[str, list[Any]] = {}
    for each in sources.values():
        for name, figures in each.items():
            shares.setdefault(name, []).append(figures["labels_needed"]["value"])
    known = {name: round(float(np.mean(v)), 4) for name, v in shares.items() if None not in v and name != "random"}
    best = min(known, key=known.__getitem__, default=None)
    return {"budgets": list(budgets), "sources": sources, "mean_share": known, "best": best}


def _figures(curves: Floats, random: Floats, budgets: Sequence[int], draws: int) -> dict[str, Any]:
    """Percentiles of a bootstrap over seeds, the same ones drawn for both curves."""
    generator = np.random.default_rng(0)
    drawn = [generator.integers(len(curves), size=len(curves)) for _ in range(draws)]
    low, high = np.quantile([curves[i].mean(0) for i in drawn], (0.025, 0.975), axis=0)
    shares = [labels_needed(curves[i], random[i], budgets) for i in drawn]
    least, most = np.quantile(shares, (0.025, 0.975), method="nearest")
    share = labels_needed(curves, random, budgets)
    each = zip(curves.mean(0).tolist(), low.tolist(), high.tolist(), strict=True)
    return {
        "auprc": [{"value": round(v, 4), "low": round(a, 4), "high": round(b, 4)} for v, a, b in each],
        "labels_needed": {"value": finite(share), "low": finite(float(least)), "high": finite(float(most))},
    }


def finite(value: float) -> float | None:
    """None where it is never reached: JSON has no infinity."""
    return round(value, 4) if np.isfinite(value) else None


def plot(made: Mapping[str, Any]) -> str:
    """SVG: a panel a source, a line a strategy, bands of 95 % intervals."""
    from matplotlib.figure import Figure

    from training.dataset.plots import svg

    figure = Figure(figsize=(4.4 * len(made["sources"]), 3.6), layout="constrained")
    for axes, (source, strategies) in zip(
        np.atleast_1d(figure.subplots(1, len(made["sources"]))), made["sources"].items(), strict=True
    ):
        for name, figures in strategies.items():
            at, values = [0, *made["budgets"]], figures["auprc"]
            style = {"color": "#444444", "linestyle": "--"} if name == "random" else {}
            (line,) = axes.plot(at, [v["value"] for v in values], label=name, linewidth=1.3, **style)
            band = [[v[side] for v in values] for side in ("low", "high")]
            axes.fill_between(at, *band, color=line.get_color(), alpha=0.12, linewidth=0)
        axes.set(title=source, xlabel="labels of this source", ylabel="area under precision-recall")
        axes.grid(color="#eeeeee")
    axes.legend(fontsize=7)
    return svg(figure)
