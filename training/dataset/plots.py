"""Plots of a data card as SVG. Needs matplotlib."""

import io
from collections import Counter
from collections.abc import Sequence
from typing import Final

import matplotlib
from matplotlib.figure import Figure

from training.dataset.items import Item

YES: Final = "#c1661c"
NO: Final = "#0b6e4f"


def of(items: Sequence[Item]) -> dict[str, str]:
    """What it shows -> the plot."""
    plots = {"rows by source": _bars({"rows": Counter(i.of for i in items)}, {"rows": NO})}
    if labels := Counter((c, v) for i in items for c, v in i.labels.items()):
        sides = {
            name: Counter({c: n for (c, v), n in labels.items() if v == value})
            for name, value in (("no", 0), ("yes", 1))
        }
        plots["labels by category"] = _bars(sides, {"no": NO, "yes": YES})
    if agreed := [i.agreement for i in items if i.agreement is not None]:
        plots["agreement of reviewers"] = _histogram(agreed)
    return plots


def _bars(stacks: dict[str, Counter[str]], colours: dict[str, str]) -> str:
    total = sum(stacks.values(), Counter[str]())
    names = sorted(total, key=lambda name: (total[name], name))
    figure = Figure(figsize=(8, 0.8 + 0.24 * len(names)), layout="constrained")
    axes = figure.subplots()
    begin = [0] * len(names)
    for label, values in stacks.items():
        widths = [values[name] for name in names]
        axes.barh(names, widths, left=begin, color=colours[label], label=label)
        begin = [a + b for a, b in zip(begin, widths, strict=True)]
    axes.set(xlabel="rows")
    axes.tick_params(axis="y", labelsize=7)
    if len(stacks) > 1:
        axes.legend(fontsize=7)
    return svg(figure)


def _histogram(values: Sequence[float]) -> str:
    figure = Figure(figsize=(8, 2.2), layout="constrained")
    axes = figure.subplots()
    axes.hist(values, bins=20, range=(0, 1), color=NO)
    axes.set(xlabel="agreement of reviewers", ylabel="rows")
    return svg(figure)


def svg(figure: Figure) -> str:
    """The same plot, the same bytes."""
    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sluicegate"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
