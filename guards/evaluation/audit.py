"""The bias audit of one guard on one labelled set."""

from collections.abc import Sequence

from guards.evaluation import bias
from guards.evaluation.evaluate import Figures, judged
from guards.evaluation.page import columns, interval
from guards.evaluation.rows import Line, tasks
from guards.guard import Guard


def audited(
    guard: Guard, lines: Sequence[Line], category: str, by: str | None = None, group: str = "group", draws: int = 300
) -> Figures:
    """AUCs and gaps by group: by the values of the field `by`, or by the identity terms in the text.

    Raises:
        ValueError: the set has no label of the category that the guard judges, or too few rows of any group.
        GuardError: the guard cannot judge.
    """
    task = tasks(lines, guard, group)[0].get(category)
    if task is None:
        raise ValueError(f"no line has a label {category!r} that {guard.name} judges")
    if by:
        named = [frozenset([f[by]] if f.get(by) else []) for f in task.fields]
    else:
        named = [bias.terms(p.text) for p in task.passages]
    scores = judged(guard, category, task.passages)
    return bias.audit(scores, task.labels, named, task.groups, draws=draws).document()


def shown(figures: Figures) -> str:
    """For a terminal: every group, the worst first, then the worst of each kind."""
    kinds = (*bias.KINDS, *bias.ODDS)
    head = ("group", "rows", *(k.replace("_", " ") for k in kinds))
    rows = [(n, str(f["rows"]), *(interval(f[k]) for k in kinds)) for n, f in figures["subgroups"].items()]
    worst = [
        f"worst {kind} AUC: {w['subgroup']} {interval(w)}, {w['share_of_overall']:.3f} of the overall one"
        for kind, w in figures["worst"].items()
        if kind in bias.KINDS
    ]
    odds = figures["worst"]["equalised_odds"]
    worst.append(f"farthest from equalised odds at {bias.FLAGGED}: {odds['subgroup']} {interval(odds)}")
    return "\n".join([columns([head, *rows]), f"overall AUC {interval(figures['overall_auc'])}", *worst])
