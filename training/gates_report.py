"""The gates' outcome for people: a table for a terminal, one HTML page. Pure; no text of a set is in either."""

from collections.abc import Mapping
from typing import Any, Final

from guards.evaluation.page import Cells, heading, note, page, table
from training.gates import Check, Outcome

MEANS: Final[Mapping[str, str]] = {
    "covers": "judges the category at all",
    "ranking": "area under precision-recall (AUPRC)",
    "balanced": "mean of recall and specificity at the threshold",
    "calibration": "expected calibration error (ECE); less is better",
    "over_refusal": "share of harmless texts that is stopped; less is better",
    "bias": "AUC by which the worst identity group lies under all; less is better",
    "latency": "milliseconds a text, and their ratio; less is better",
}


def rows(outcome: Outcome) -> list[Cells]:
    """What stops comes first."""
    head = ("", "check", "set", "category", "rows", "candidate", "serving", "difference", "95 % interval")
    return [head, *map(_row, sorted(outcome.checks, key=lambda c: (c.passed, c.name, c.set)))]


def _row(check: Check) -> Cells:
    sign = "" if check.name == "latency" else "+"
    numbers = (f"{check.candidate:.3f}", f"{check.serving:.3f}", f"{check.difference:{sign}.3f}")
    interval = f"{check.low:{sign}.3f} to {check.high:{sign}.3f}"
    named = (check.name, check.set, check.category or "", str(check.rows))
    return "passed" if check.passed else "STOPPED", *named, *numbers, interval


def html(outcome: Outcome, told: Mapping[str, Any]) -> str:
    """One page that loads nothing."""
    title = f"Gates of {told['name']} {told['version']}: {'passed' if outcome.passed else 'stopped'}"
    notes = [note(f"{name}: {what}") for name, what in MEANS.items()]
    left = [note(f"not checked: {what}") for what in outcome.not_checked]
    made_from = {k: told.get(k) for k in ("digest", "parent", "datasets", "recipe_digest", "revision", "run")}
    lines = [("", ""), *((k, str(v)) for k, v in made_from.items())]
    return page(title, [*notes, table(rows(outcome)), *left, heading("Where it comes from"), table(lines)])
