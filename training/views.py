"""Further rows made from given ones, so that a head works on prompts, on responses, and on parts of long texts. Pure.

Made after the split: a view is always on the side of its row.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from training.rows import Row

TEXT_CATEGORIES: Final = ("toxicity", "hate", "pii")  # of a text, whoever wrote it


@dataclass(frozen=True, slots=True)
class Pool:
    """What views are made with: benign prompts and long benign texts of the same side."""

    prompts: Sequence[str]
    long_texts: Sequence[str]


def pool(rows: Sequence[Row]) -> Pool:
    """Prompts known not to be harmful, and responses or prompts of at least 600 characters known to be clean."""
    prompts = [r.text for r in rows if not r.is_response and r.labels.get("harm") == 0]
    long_texts = [r.text for r in rows if len(r.text) >= 600 and r.source in _CLEAN and not any(r.labels.values())]
    return Pool(prompts or [""], long_texts or [""])


_CLEAN: Final = frozenset({"arena_hard_answers", "arena_hard", "self_instruct", "gsm8k"})


def as_response(row: Row, made_with: Pool, random: Random) -> Row:
    """A post as if an LLM had written it, after a benign prompt or none."""
    return row.as_response(random.choice(made_with.prompts) if random.random() < 0.7 else "")


def part(row: Row, made_with: Pool, random: Random) -> Row:
    """A piece of a clean text is clean."""
    start = random.randrange(max(1, len(row.text) // 2)) if random.random() < 0.5 else 0
    end = random.randrange(start + 20, len(row.text) + 1)
    return replace(row, text=row.text[start:end])


def spliced(row: Row, made_with: Pool, random: Random) -> Row:
    """A prompt inside a long benign text is as harmful as alone. Nothing is claimed about injection."""
    around = random.choice(made_with.long_texts)
    size = random.randrange(100, 700)
    start = random.randrange(max(1, len(around) - size))
    before = random.choice((0, size // 2, size))
    body = around[start : start + size]
    text = f"{body[:before]}\n{row.text}\n{body[before:]}".strip()
    return replace(row, text=text, labels={"harm": row.labels["harm"]})


def answered(row: Row, made_with: Pool, random: Random) -> Row:
    """A harmful prompt with an innocent answer: the prompt is context and must not count."""
    answer = random.choice(made_with.long_texts)
    start = random.randrange(max(1, len(answer) - 300))
    labels = {"response_harm": 0, "toxicity": 0, "hate": 0}
    return replace(row, text=answer[start : start + 300], prompt=row.text, is_response=True, labels=labels)


View = Callable[[Row, Pool, Random], Row]
VIEWS: Final[tuple[tuple[View, Callable[[Row], bool], float], ...]] = (
    (as_response, lambda r: not r.is_response and any(c in r.labels for c in TEXT_CATEGORIES), 0.4),
    (part, lambda r: len(r.text) >= 80 and not any(r.labels.values()) and r.source in _CLEAN, 0.5),
    (spliced, lambda r: not r.is_response and "harm" in r.labels and len(r.text) < 400, 0.25),
    (answered, lambda r: not r.is_response and r.labels.get("harm") == 1, 0.1),
)


def with_views(rows: Sequence[Row], seed: int) -> list[Row]:
    """The rows and, for a share of them, their views. A text view stands beside its row, it does not replace it."""
    made_with, random = pool(rows), Random(seed)
    return [made for row in rows for made in _of(row, made_with, random)]


def _of(row: Row, made_with: Pool, random: Random) -> Iterator[Row]:
    yield row
    for view, applies, share in VIEWS:
        if applies(row) and random.random() < share:
            yield view(row, made_with, random)
