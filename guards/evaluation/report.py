"""Figures of an evaluation for people: tables for a terminal, one HTML file. No text of a set is in either."""

from collections.abc import Mapping
from typing import Final

from guards.evaluation.evaluate import SIDES, Figures, Result
from guards.evaluation.page import Cells, columns, heading, image, interval, note, page, table

METRICS: Final[Mapping[str, str]] = {
    "auprc": "AUPRC",
    "auroc": "AUROC",
    "f1_at_threshold": "F1",
    "best_f1": "best F1",
    "recall_at_1pct_fpr": "recall at 1 %",
    "recall_at_0.1pct_fpr": "at 0.1 %",
    "ece": "ECE",
}

ORDERED: Final = ("auprc", "auroc")


def plain(figures: Figures) -> str:
    """The figures of `evaluate` for a terminal."""
    parts = [title(figures)]
    for name, of_set in figures["sets"].items():
        parts.append(f"\n{name}: {of_set['lines']} lines" + "".join(f"\n  {n}" for n in notes(of_set)))
        for category, found in of_set["categories"].items():
            parts.append(f"\n{name}, {category}: {counts(found)}")
            parts += [columns(rows) for rows in tables(found)]
    return "\n".join(parts)


def html(result: Result) -> str:
    """The figures of `evaluate` with their plots, as one self-contained file."""
    from guards.evaluation import plots

    blocks = [note(title(result.figures)), *(note(f"{side}: {what}") for side, what in SIDES.items())]
    for name, of_set in result.figures["sets"].items():
        blocks += [heading(f"{name}: {of_set['lines']} lines"), *map(note, notes(of_set))]
        for category, found in of_set["categories"].items():
            task, scored = result.scores[name][category]
            blocks += [heading(f"{name}, {category}", 3), note(counts(found)), *map(table, tables(found))]
            if task.both_labels:
                blocks.append(image(plots.curves(task.labels, scored), f"curves of {category} on {name}"))
            for field, sliced in found["by"].items():
                shares = {value: f["right"]["value"] for value, f in sliced["values"].items()}
                blocks.append(image(plots.bars(shares, "right at threshold"), f"{category} on {name} by {field}"))
    return page("Guard evaluation", blocks)


def title(figures: Figures) -> str:
    guard, against = figures["guard"], figures["against"]
    of = f"{guard['name']} {guard['version']} ({guard['digest'][:12]})"
    beside = f", against {against['name']} {against['version']} ({against['digest'][:12]})" if against else ""
    thresholds = f"thresholds of policy {figures['policy']}" if figures["policy"] else "the guard's own threshold"
    return f"{of}{beside}; {thresholds}; 95 % intervals of {figures['draws']} draws, by group"


def notes(of_set: Figures) -> list[str]:
    """What a reader must know before believing the figures."""
    found = []
    if seen := of_set["seen_in_training"]:
        found.append(f"{seen} of these texts are in the training folder, word for word: these figures flatter")
    left = of_set["not_judged"].items()
    found += [f"{count} lines have a label {c!r} that the guard does not judge there" for c, count in left]
    if timed := of_set["latency"]:
        length = f"{timed['median_chars']} characters in the median"
        found.append(f"one text alone: {timed['p50_ms']} ms (p99 {timed['p99_ms']}), {length}")
    return found


def counts(found: Figures) -> str:
    rows = f"{found['rows']} rows, {found['positive']} positive, {found['groups']} groups"
    said = f"{rows}; threshold {found['threshold']:g}"
    if found["rows"] - found["positive"] < 1000 and "sides" in found:
        said += "; fewer than 1,000 negatives: recall at 0.1 % is recall at none"
    return said


def tables(found: Figures) -> list[list[Cells]]:
    """Sides, differences, errors at the threshold, and each slicing; heads first."""
    made: list[list[Cells]] = []
    if sides := found.get("sides"):
        made.append([("", *METRICS.values()), *((s, *(interval(v[m]) for m in METRICS)) for s, v in sides.items())])
    if ahead := found.get("ahead_of"):
        names = list(next(iter(ahead.values())))
        head = ("guard minus", *(METRICS[n] for n in names))
        made.append([head, *((s, *(interval(v[n], sign="+") for n in names)) for s, v in ahead.items())])
    made.append(errors(found["confusion"]))
    made += [slicing(name, sliced) for name, sliced in found["by"].items()]
    return made


def slicing(name: str, sliced: Figures) -> list[Cells]:
    def line(value: str, f: Figures) -> Cells:
        return value, str(f["rows"]), str(f["positive"]), interval(f["right"]), *map(_number, map(f.get, ORDERED))

    mean = ("(plain mean)", "", "", _number(sliced["macro_average"]), "", "")
    worst = (f"(worst: {sliced['worst']['value']})", "", "", _number(sliced["worst"]["right"]), "", "")
    lines = [line(value, f) for value, f in sliced["values"].items()]
    return [(name, "rows", "positive", "right at threshold", "AUPRC", "AUROC"), *lines, mean, worst]


def errors(confusion: Figures) -> list[Cells]:
    c = confusion
    return [
        ("at the threshold", "flagged", "passed", "share flagged"),
        ("positive", str(c["true_positive"]), str(c["false_negative"]), interval(c.get("recall"))),
        ("negative", str(c["false_positive"]), str(c["true_negative"]), interval(c.get("false_positive_rate"))),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
