"""Plots of one task as SVG. Needs matplotlib."""

import io
from collections.abc import Mapping
from typing import Any, Final

import matplotlib
from matplotlib.figure import Figure

from guards.calibration import Floats
from guards.evaluation.metrics import Labels, Ranking, reliability

COLOURS: Final = {
    "guard": "#0b6e4f",
    "against": "#c1661c",
    "floor_cross_validated": "#7a7a7a",
    "floor_trained": "#3b5b92",
}


def curves(labels: Labels, scored: Mapping[str, Floats]) -> str:
    """Precision over recall, recall over false positives (logarithmic), and reliability, side by side."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    precision, operating, calibrated = figure.subplots(1, 3)
    for side, scores in scored.items():
        curve = Ranking(scores, labels).curve()
        style: dict[str, Any] = {"color": COLOURS[side], "label": side.replace("_", " "), "linewidth": 1.4}
        recall = curve.hits / max(curve.hits[-1], 1)
        precision.plot(recall, curve.hits / (curve.hits + curve.false), **style)
        operating.plot((curve.false / max(curve.false[-1], 1)).clip(1e-4), recall, **style)
        bins = reliability(scores, labels)
        calibrated.plot([b["score"] for b in bins], [b["positive"] for b in bins], marker="o", markersize=3, **style)
    calibrated.plot([0, 1], [0, 1], color="#bbbbbb", linestyle="--", linewidth=1)
    operating.set_xscale("log")
    for axes, x, y in (
        (precision, "recall", "precision"),
        (operating, "false positive rate", "recall"),
        (calibrated, "mean score", "share of positives"),
    ):
        axes.set(xlabel=x, ylabel=y, ylim=(-0.02, 1.02))
        axes.grid(color="#eeeeee")
    precision.legend(fontsize=7, loc="lower left")
    return _svg(figure)


def bars(values: Mapping[str, float], label: str) -> str:
    """A bar for each name, lowest first."""
    names = sorted(values, key=values.__getitem__)
    figure = Figure(figsize=(8, 0.6 + 0.2 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, [values[n] for n in names], color=COLOURS["guard"])
    axes.set(xlabel=label, xlim=(0, 1))
    axes.tick_params(axis="y", labelsize=7)
    axes.invert_yaxis()
    return _svg(figure)


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sluicegate"}):  # the same plot, the same bytes
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
