"""Whether a guard's verdicts hold when the same is said in other words."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from guards.calibration import Floats
from guards.evaluation import rewording
from guards.evaluation.evaluate import Figures, judged
from guards.evaluation.metrics import Interval, resampled
from guards.evaluation.page import columns, interval
from guards.evaluation.rows import Line, Task, tasks
from guards.guard import Guard
from guards.verdict import Passage

WRITTEN: Final = "written"  # paraphrases that the set holds itself


def robustness(
    guard: Guard, lines: Sequence[Line], category: str, threshold: float = 0.5, group: str = "group", draws: int = 300
) -> Figures:
    """By kind of rewording, over the texts that it changes: verdicts that flip, positives lost, harmless ones flagged.

    A line with `paraphrase_of` says in other words what the line of that `id` says; the kind is then `written`.
    `worst` counts a positive as caught only if it is in every wording, a harmless text as flagged if it is in any.

    Raises:
        ValueError: the set has no label of the category that the guard judges.
        GuardError: the guard cannot judge.
    """
    task = tasks(lines, guard, group)[0].get(category)
    if task is None:
        raise ValueError(f"no line has a label {category!r} that {guard.name} judges")
    own, before = _written(task), judged(guard, category, task.passages)
    rows = np.setdiff1d(np.arange(len(task.passages)), list(own.values()))
    pairs = {WRITTEN: (np.array(list(own)), before[list(own.values())])} if own else {}
    for kind, (changed, passages) in _changed(task, rows).items():
        pairs[kind] = np.array(changed), judged(guard, category, passages)
    least, most = before.copy(), before.copy()
    for of, after in pairs.values():
        np.minimum.at(least, of, after)
        np.maximum.at(most, of, after)

    def figures(of: NDArray[np.int64], after: Floats) -> Figures:
        now, then = after >= threshold, before[of] >= threshold
        return {"rows": len(of), "flipped": _share(task, of, now != then, draws)} | {
            name: _share(task, of[here], (now.astype(int) - then)[here], draws)
            for name, here in (("recall", task.labels[of] == 1), ("false_alarms", task.labels[of] == 0))
            if here.any()
        }

    kinds = {kind: figures(of, after) for kind, (of, after) in pairs.items()}
    worst = np.where(task.labels == 1, least, most)[rows]
    return {"rows": len(rows), "threshold": threshold, "worst": figures(rows, worst), "kinds": kinds}


def _written(task: Task) -> dict[int, int]:
    """The row that a paraphrase of the set belongs to, and the paraphrase; of several the last."""
    named = {fields["id"]: nth for nth, fields in enumerate(task.fields) if "id" in fields}
    found = ((named.get(fields.get("paraphrase_of", "")), nth) for nth, fields in enumerate(task.fields))
    return {of: nth for of, nth in found if of is not None and of != nth}


def _changed(task: Task, rows: NDArray[np.int64]) -> Mapping[str, tuple[list[int], list[Passage]]]:
    """By kind: the rows that it changes, and what is said then."""
    found: dict[str, tuple[list[int], list[Passage]]] = {}
    for nth in rows:
        passage = task.passages[nth]
        for kind, text in rewording.reworded(passage.text, passage.kind).items():
            of, passages = found.setdefault(kind, ([], []))
            of.append(nth)
            passages.append(replace(passage, text=text))
    return found


def _share(task: Task, of: NDArray[np.int64], values: NDArray[Any], draws: int) -> dict[str, float]:
    """A mean over rows with a bootstrap interval, whole groups drawn together."""
    groups = task.groups[of]
    drawn = [
        float(np.average(values, weights=weights))
        for weights in resampled(len(of), np.unique(groups, return_inverse=True)[1], 0, draws)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Interval(float(np.mean(values)), float(low), float(high)).document()


def shown(figures: Figures) -> str:
    """For a terminal: every kind, the one that flips most first, then the worst of all wordings together."""
    names = ("flipped", "recall", "false_alarms")
    kinds = sorted(figures["kinds"].items(), key=lambda pair: -pair[1]["flipped"]["value"])
    rows = [
        (kind, str(found["rows"]), *(interval(found.get(name)) for name in names))
        for kind, found in [*kinds, ("worst of all", figures["worst"])]
    ]
    return columns([("rewording", "texts", "flipped", "recall, after less before", "false alarms, the same"), *rows])
