"""`report.json` and `report.html` of an evaluation or an audit. The page loads nothing."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from guards.evaluation.page import heading, image, interval, note, page, table

TOLD: Final = {
    "perplexity": "perplexity of wanted answers (lower is better)",
    "bleu": "BLEU",
    "chrf": "chrF",
    "rouge_l": "ROUGE-L",
    "exact": "exact match",
    "refusal": "declined, of harmful prompts",
    "over_refusal": "declined, of harmless prompts",
    "declined": "declined, of prompts nobody labelled",
    "harmful": "harmful answers, by the guard",
    "harmless": "mean of minus the guard's highest score",
    "reward_model": "mean reward",
    "words": "words an answer",
}
DECLINED: Final = "Declining is told by how an answer begins: a crude rule, the same for all sides. Intervals are 95 %."


def write(out: Path, figures: Mapping[str, Any], title: str = "Evaluation of an LLM") -> None:
    """Both files in folder `out`, which is made."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (out / "report.html").write_text(page(title, blocks(figures)), encoding="utf-8")


def blocks(figures: Mapping[str, Any]) -> list[str]:
    sides: Mapping[str, Mapping[str, Any]] = figures["sides"]
    names = {"shots": f"model, {figures['shots']} examples before", "reworded": "model, asked in other words"}
    names |= dict(figures["names"])
    measures = [m for m in TOLD if any(m in found for found in sides.values())]
    rows = [["", *(names[side] for side in sides)]]
    rows += [[TOLD[m], *(interval(found.get(m)) for found in sides.values())] for m in measures]
    made = [note(f"{figures['prompts']} prompts. {DECLINED}"), table(rows), image(bars(sides, names), "shares by side")]
    if held := figures.get("flipped"):
        made.append(note(f"Declined in one wording and not in the other: {interval(held)} of the prompts."))
    if wins := figures.get("wins"):
        told = [[by, interval(v) if isinstance(v, Mapping) else str(v)] for by, v in wins.items()]
        made += [heading("Win rate of the model"), note("Ties count half."), table([["by", "win rate"], *told])]
    if gates := figures.get("gates"):
        told = [
            [c["name"], f"{c['difference']:+.3f} ({c['low']:+.3f} to {c['high']:+.3f})", "yes" if c["passed"] else "NO"]
            for c in gates["checks"]
        ]
        made += [heading("Gates"), table([["check", "model - against, same prompts", "passed"], *told])]
    if people := figures.get("people"):
        told = [[name, interval(v)] for name, v in sorted(people.items(), key=lambda two: -two[1]["value"])]
        made += [
            heading("By people's rankings"),
            note("Chance to be placed before an average other one (Bradley and Terry 1952)."),
            table([["", "chance"], *told]),
        ]
    return made


def bars(sides: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """Shares from 0 to 1 of each side beside each other, with their intervals, as SVG."""
    shown = ("bleu", "chrf", "rouge_l", "exact", "refusal", "over_refusal", "declined", "harmful")
    here = [m for m in shown if any(m in found for found in sides.values())]
    return whiskers([(TOLD[m], [(names[s], f[m]) for s, f in sides.items() if m in f]) for m in here], "share")


def whiskers(rows: Sequence[tuple[str, Sequence[tuple[str, Mapping[str, float]]]]], label: str) -> str:
    """A line a row; in it a point and its interval for each side."""
    import io

    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1 + 0.35 * len(rows)), layout="constrained")
    axes = figure.subplots()
    sides = list(dict.fromkeys(side for _, found in rows for side, _ in found))
    colours = ("#0b6e4f", "#c1661c", "#3b5b92", "#7a7a7a")
    for nth, side in enumerate(sides):
        here = [(y + 0.18 * nth, v) for y, (_, found) in enumerate(rows) for s, v in found if s == side]
        middle = [v["value"] for _, v in here]
        reach = [[v["value"] - v["low"] for _, v in here], [v["high"] - v["value"] for _, v in here]]
        style: dict[str, Any] = {"fmt": "o", "markersize": 4, "color": colours[nth % 4], "label": side}
        axes.errorbar(middle, [y for y, _ in here], xerr=[[max(0.0, r) for r in side_] for side_ in reach], **style)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.grid(color="#eeeeee")
    axes.legend(fontsize=7)
    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sluicegate"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
