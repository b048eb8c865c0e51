"""One guard on labelled sets: every figure with its interval, beside a lexical floor and another guard."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from guards.calibration import Floats
from guards.evaluation import floor, rows
from guards.evaluation.metrics import compare, measure, reliability, wilson
from guards.evaluation.rows import Line, Task
from guards.guard import Guard
from guards.policy import Policy
from guards.verdict import Passage

BY: Final = ("source", "category", "language")
TIMED: Final = 100
CHUNK: Final = 512
Figures = dict[str, Any]
Scored = dict[str, Floats]  # who scored -> probabilities of the task's rows
SIDES: Final[Mapping[str, str]] = {
    "guard": "the guard",
    "against": "the guard it is held against",
    "floor_cross_validated": "TF-IDF + logistic regression, trained on the other folds of this very set (by group)",
    "floor_trained": "TF-IDF + logistic regression, trained on rows of SLUICEGATE_DATA that are not in this set",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how. Thresholds are those of `policy`; .5, the guard's own, where it has no rule."""

    policy: Policy | None = None
    against: Guard | None = None
    by: Sequence[str] = BY
    group: str = "group"
    training: Sequence[Line] = ()  # for the trained floor, and for finding what a guard may have been trained on
    seed: int = 0
    draws: int = 1000
    said: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Result:
    """Figures as plain JSON, and the scores behind them (by set and category) for plots."""

    figures: Figures
    scores: dict[str, dict[str, tuple[Task, Scored]]] = field(repr=False)


def evaluate(guard: Guard, sets: Mapping[str, Sequence[Line]], plan: Plan) -> Result:
    """Raises GuardError when a guard cannot judge."""
    train = {c: t for c, t in rows.tasks(plan.training, guard)[0].items() if t.both_labels}
    figures: Figures = {"guard": _identity(guard), "against": plan.against and _identity(plan.against)}
    figures |= {"policy": plan.policy and plan.policy.name, "seed": plan.seed, "draws": plan.draws, "sets": {}}
    behind: dict[str, dict[str, tuple[Task, Scored]]] = {}
    for name, lines in sets.items():
        found, left = rows.tasks(lines, guard, plan.group)
        plan.said(f"{name}: {len(lines)} lines, {sum(len(t.labels) for t in found.values())} texts to judge")
        behind[name] = {c: (t, _scored(t, guard, train.get(c), plan)) for c, t in found.items()}
        figures["sets"][name] = {
            "lines": len(lines),
            "not_judged": left,
            "seen_in_training": rows.seen(lines, plan.training) if plan.training else None,
            "latency": latency(guard, [p for t in found.values() for p in t.passages], plan.seed),
            "categories": {c: task_figures(t, scored, plan) for c, (t, scored) in behind[name].items()},
        }
    return Result(figures, behind)


def judged(guard: Guard, category: str, passages: Sequence[Passage]) -> Floats:
    """Probabilities of a category; every passage is judged whole."""
    found: list[float] = []
    for start in range(0, len(passages), CHUNK):
        found += [s.by_category[category] for s in guard.judge(passages[start : start + CHUNK])]
    return np.array(found, np.float64)


def latency(guard: Guard, passages: Sequence[Passage], seed: int = 0) -> Figures:
    """Milliseconds a text when judged alone, over at most 100 texts drawn from the set."""
    if not passages:
        return {}
    drawn = np.random.default_rng(seed).permutation(len(passages))[:TIMED]
    guard.judge([passages[drawn[0]]])
    took = []
    for nth in drawn:
        begun = time.perf_counter()
        guard.judge([passages[nth]])
        took.append((time.perf_counter() - begun) * 1000)
    p50, p99 = np.quantile(took, (0.5, 0.99))
    chars = int(statistics.median(len(passages[i].text) for i in drawn))
    return {"texts": len(took), "median_chars": chars, "p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}


def _scored(task: Task, guard: Guard, train: Task | None, plan: Plan) -> Scored:
    found = {"guard": judged(guard, task.category, task.passages)}
    other = plan.against
    if other is not None and all(task.category in other.covers(p.stage) for p in task.passages):
        found["against"] = judged(other, task.category, task.passages)
    if not task.both_labels:
        return found
    plan.said(f"{task.category}: the floors")
    within = floor.cross_validated(task, plan.seed)
    if within is not None:
        found["floor_cross_validated"] = within
    if train is not None:
        found["floor_trained"] = floor.trained(task, train, plan.seed)
    return found


def task_figures(task: Task, scored: Scored, plan: Plan) -> Figures:
    """Of one category of one set: every side, what the guard is ahead by, errors, calibration, slices."""
    rule = plan.policy.rules(task.stage).get(task.category) if plan.policy else None
    threshold, guard = rule.threshold if rule else 0.5, scored["guard"]
    figures: Figures = {
        "stage": task.stage,
        "rows": len(task.labels),
        "positive": int(task.labels.sum()),
        "groups": int(task.groups.max()) + 1,
        "threshold": threshold,
        "confusion": confusion(guard, task, threshold),
        "reliability": [{k: round(v, 4) for k, v in b.items()} for b in reliability(guard, task.labels)],
    }
    if task.both_labels:
        drawn = (task.groups, plan.seed, plan.draws)
        figures["sides"] = {
            side: {n: i.document() for n, i in measure(s, task.labels, threshold, *drawn).items()}
            for side, s in scored.items()
        }
        figures["ahead_of"] = {
            side: {n: i.document() for n, i in compare(guard, s, task.labels, *drawn).items()}
            for side, s in scored.items()
            if side != "guard"
        }
    figures["by"] = {name: by(task, guard, threshold, name) for name in plan.by if rows.slices(task, name)}
    return figures


def confusion(scores: Floats, task: Task, threshold: float) -> Figures:
    """Counts at the threshold, with recall and false positive rate (Wilson's intervals)."""
    flagged, true = scores >= threshold, task.labels == 1
    hits, false = int((flagged & true).sum()), int((flagged & ~true).sum())
    counts = {"true_positive": hits, "false_negative": int(true.sum()) - hits}
    counts |= {"false_positive": false, "true_negative": int((~true).sum()) - false}
    rates = {"recall": wilson(hits, true.sum()).document()} if true.any() else {}
    return counts | rates | ({"false_positive_rate": wilson(false, (~true).sum()).document()} if not true.all() else {})


def by(task: Task, scores: Floats, threshold: float, name: str) -> Figures:
    """The share judged right at the threshold for each value of a field; their plain mean, and the worst."""
    found: dict[str, Figures] = {}
    for value, nth in rows.slices(task, name).items():
        labels, here = task.labels[list(nth)], scores[list(nth)]
        right = wilson(int(((here >= threshold) == (labels == 1)).sum()), len(nth))
        found[value] = {"rows": len(nth), "positive": int(labels.sum()), "right": right.document()}
        if 0 < labels.sum() < len(labels):
            values = measure(here, labels, threshold, draws=0)
            found[value] |= {"auprc": round(values["auprc"].value, 4), "auroc": round(values["auroc"].value, 4)}
    shares = {value: f["right"]["value"] for value, f in found.items()}
    worst = min(shares, key=shares.__getitem__)
    macro = round(statistics.mean(shares.values()), 4)
    return {"macro_average": macro, "worst": {"value": worst, "right": shares[worst]}, "values": found}


def _identity(guard: Guard) -> Figures:
    return {"name": guard.name, "version": guard.version, "digest": guard.digest}
