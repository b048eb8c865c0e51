"""How quick a guard is by length of text, and what a cascade costs and brings."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from guards.cascade import Cascade, settled
from guards.evaluation.metrics import wilson
from guards.evaluation.rows import Line, Task, tasks
from guards.guard import Guard, GuardError
from guards.verdict import Passage, Scores

Figures = dict[str, Any]

LENGTHS: Final = (64, 128, 256, 512, 1024, 2048)  # words of common English, each a token or little more
BATCH: Final = 32
FLAGGED: Final = 0.5
WORDS: Final = (
    "the river carries what it is given down to wide and open sea where boats come in every morning with fish for "
    "market people buy bread talk about weather children run along old harbour wall while gulls wait on roofs"
)


def speed(guard: Guard, lengths: Sequence[int] = LENGTHS, budget_s: float = 3.0, seed: int = 0) -> list[Figures]:
    """For each length: milliseconds of a text judged alone, texts a second alone and in batches of 32.

    Each of the two takes `budget_s` or a little more. Texts are made up, none comes twice.

    Raises:
        GuardError: the guard failed.
    """
    draw = np.random.default_rng(seed)
    rows = []
    for words in lengths:
        alone = _timed(lambda n=words: guard.judge([_text(n, draw)]), budget_s)  # type: ignore[misc]
        batches = _timed(lambda n=words: guard.judge([_text(n, draw) for _ in range(BATCH)]), budget_s)  # type: ignore[misc]
        p50, p99 = np.quantile(alone, (0.5, 0.99))
        rows.append(
            {
                "tokens": words,
                "texts": len(alone),
                "p50_ms": round(float(p50) * 1e3, 2),
                "p99_ms": round(float(p99) * 1e3, 2),
                "alone_per_s": round(1 / float(np.mean(alone)), 1),
                "batch_per_s": round(BATCH / float(np.mean(batches)), 1),
            }
        )
    return rows


def cascade(guard: Cascade, lines: Sequence[Line]) -> Figures:
    """What a cascade asks its second guard about on labelled lines, what that costs, and recall and false positives at
    .5 of the first alone and of both, with Wilson intervals.

    Raises:
        GuardError: the first guard failed. Where the second did, the first counts, and `failed` says how often.
    """
    found, left = tasks(lines, guard)
    why: Counter[str] = Counter()
    took = {"first": 0.0, "then": 0.0}
    categories = {category: _category(guard, task, why, took) for category, task in found.items()}
    texts = sum(len(task.passages) for task in found.values())
    asked = why["unsure"] + why["sample"]
    return {
        "texts": texts,
        "escalated": dict(why),
        "escalated_share": round(asked / max(texts, 1), 4),
        "first_ms": round(1e3 * took["first"] / max(texts, 1), 3),
        "then_ms": round(1e3 * took["then"] / max(asked, 1), 3),
        "both_ms": round(1e3 * (took["first"] + took["then"]) / max(texts, 1), 3),
        "categories": categories,
        "not_judged": left,
    }


def _category(guard: Cascade, task: Task, why: Counter[str], took: dict[str, float]) -> Figures:
    before: list[float] = []
    after: list[float] = []
    for start in range(0, len(task.passages), BATCH):
        passages = task.passages[start : start + BATCH]
        first = _stopped(took, "first", lambda p=passages: guard.first.judge(p))  # type: ignore[misc]
        both = _both(guard, passages, first, why, took)
        before += [s.by_category[task.category] for s in first]
        after += [
            b.by_category.get(task.category, a.by_category[task.category]) for a, b in zip(first, both, strict=True)
        ]
    return {"rows": len(after), "first": _points(before, task), "both": _points(after, task)}


def _both(
    guard: Cascade, passages: Sequence[Passage], first: Sequence[Scores], why: Counter[str], took: dict[str, float]
) -> list[Scores]:
    scores = list(first)
    doubts = {i: e for i, (p, s) in enumerate(zip(passages, first, strict=True)) if (e := guard.escalation(p, s))}
    if not doubts:
        return scores
    why.update(e.why for e in doubts.values())
    try:
        more = _stopped(took, "then", lambda: guard.then.judge([passages[i] for i in doubts]))
    except GuardError:
        why["failed"] += len(doubts)
        return scores
    for (i, escalation), second in zip(doubts.items(), more, strict=True):
        scores[i] = settled(first[i], second, escalation)
    return scores


def _points(scores: Sequence[float], task: Task) -> Figures:
    flagged, positive = np.array(scores) >= FLAGGED, task.labels == 1
    recall = wilson(int((flagged & positive).sum()), int(positive.sum()))
    false_positives = wilson(int((flagged & ~positive).sum()), int((~positive).sum()))
    return {"recall": asdict(recall), "false_positives": asdict(false_positives)}


def _stopped(took: dict[str, float], name: str, judge: Callable[[], list[Scores]]) -> list[Scores]:
    begun = time.perf_counter()
    try:
        return judge()
    finally:
        took[name] += time.perf_counter() - begun


def _timed(work: Callable[[], object], budget_s: float) -> list[float]:
    """Seconds of each call, at least three after one to warm up."""
    work()
    return list(_calls(work, budget_s))


def _calls(work: Callable[[], object], budget_s: float) -> Iterator[float]:
    ends, done = time.perf_counter() + budget_s, 0
    while done < 3 or time.perf_counter() < ends:
        begun = time.perf_counter()
        work()
        yield time.perf_counter() - begun
        done += 1


def _text(words: int, draw: np.random.Generator) -> Passage:
    return Passage(" ".join(draw.choice(WORDS.split(), words)))
