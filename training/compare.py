"""Lets a candidate and the serving guard judge the same sets, for the gates."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

import numpy as np

from guards.calibration import Floats
from guards.evaluation.bias import terms
from guards.evaluation.evaluate import judged
from guards.evaluation.metrics import numbered
from guards.evaluation.rows import Line, Task, plain, tasks
from guards.guard import Guard
from guards.verdict import Passage, Stage
from training.gates import Check, Metric, Outcome, Thresholds, bias, check, of_category

STAGES: Final[tuple[Stage, ...]] = ("input", "output")
Use = Literal["frozen", "recent", "benign", "bias"]


def measure_all(
    candidate: Guard,
    serving: Guard,
    sets: Mapping[str, tuple[Use, Sequence[Line]]],
    limits: Thresholds,
    at: Mapping[str, float] | None = None,
) -> Outcome:
    """Every check of `candidate` against `serving` on named sets, each with the use it is put to.

    Args:
        at: the policy's threshold by category; .5, the guards' own operating point, where it has none.

    Raises:
        GuardError: a guard cannot judge.
    """
    left: list[str] = []
    lost = frozenset[str]().union(*(serving.covers(s) - candidate.covers(s) for s in STAGES))
    checks = [Check("covers", "", 0, 1, -1, -1, -1, False, 1, category) for category in sorted(lost)]
    for name, (use, lines) in sets.items():
        found = tasks(lines, serving)[0]
        both = {c: t for c, t in found.items() if all(c in candidate.covers(p.stage) for p in t.passages)}
        if use == "benign":
            checks.append(over_refusal(candidate, serving, name, lines, limits, at or {}))
            continue
        for category, task in both.items():
            pair = judged(candidate, category, task.passages), judged(serving, category, task.passages)
            made = list(_of_task(use, name, task, pair, limits, (at or {}).get(category, 0.5)))
            checks += made
            if not made:
                left.append(f"{name}, {category}: fewer than {limits.fewest} rows of a label")
    if passages := [Passage(line.prompt or line.response) for _, lines in sets.values() for line in lines]:
        checks.append(latency(candidate, serving, passages, limits))
    return Outcome(tuple(checks), tuple(left))


def _of_task(
    use: Use, name: str, task: Task, pair: tuple[Floats, Floats], limits: Thresholds, threshold: float
) -> Iterator[Check]:
    if use == "bias":
        named = [terms(p.text) for p in task.passages]
        yield from bias(name, task.category, pair, task.labels, named, task.groups, limits)
        return
    yield from of_category(name, task.category, pair, task.labels, task.groups, limits, threshold, use == "recent")


def over_refusal(
    candidate: Guard,
    serving: Guard,
    name: str,
    lines: Sequence[Line],
    limits: Thresholds,
    at: Mapping[str, float],
) -> Check:
    """Share of harmless texts in which any category that both judge is at its threshold."""
    passages = [
        Passage(line.response, "response", line.prompt) if line.response else Passage(line.prompt) for line in lines
    ]
    both = {s: serving.covers(s) & candidate.covers(s) for s in STAGES}

    def share(guard: Guard) -> Metric:
        scores = (s for start in range(0, len(passages), 512) for s in guard.judge(passages[start : start + 512]))
        flagged = np.array(
            [
                any(v >= at.get(c, 0.5) for c, v in s.by_category.items() if c in both[p.stage])
                for p, s in zip(passages, scores, strict=True)
            ],
            float,
        )
        return lambda weights: float(np.average(flagged, weights=weights))

    groups = numbered([line.fields.get("group") or plain(line.response or line.prompt) for line in lines])
    draws = (len(lines), groups, limits)
    sides = [share(candidate), share(serving)]
    return check("over_refusal", (name, None, len(lines)), sides, -1, limits.over_refusal, draws)


def latency(
    candidate: Guard, serving: Guard, passages: Sequence[Passage], limits: Thresholds, texts: int = 60
) -> Check:
    """Ratio of the median time of a text judged alone, the two taking turns so that a busy machine slows both."""
    drawn = np.random.default_rng(limits.seed).permutation(len(passages))[:texts]
    took = np.array([[_seconds(guard, passages[i]) for guard in (candidate, serving)] for i in (drawn[0], *drawn)])[1:]
    random = np.random.default_rng(limits.seed)
    ratios = [_ratio(took[random.integers(len(took), size=len(took))]) for _ in range(limits.draws)]
    low, high = np.quantile(ratios, (0.025, 0.975))
    ratio, ms = _ratio(took), np.median(took, 0) * 1000
    passed = low - 1 <= limits.latency.worse and ratio - 1 <= limits.latency.most
    found = (ratio, float(low), float(high), bool(passed))
    return Check("latency", "all", float(ms[0]), float(ms[1]), *found, -1, None, len(took))


def _ratio(took: Floats) -> float:
    mine, theirs = np.median(took, 0)
    return float(mine / theirs)


def _seconds(guard: Guard, passage: Passage) -> float:
    begun = time.perf_counter()
    guard.judge([passage])
    return time.perf_counter() - begun
