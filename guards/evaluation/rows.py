"""Labelled sets: JSONL of `{prompt, response, labels: {category: 0|1}}`, and which text of a line a label is about."""

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from guards.evaluation.metrics import Groups, Labels, numbered
from guards.guard import Guard
from guards.verdict import Passage, Stage

LONGEST_NAME = 60  # of a slice: a field that holds texts is none


class SetError(ValueError):
    """A set cannot be used. The message names file, line and fault."""


@dataclass(frozen=True, slots=True)
class Line:
    """One labelled line. `fields` are its other short values: source, group, language, ..."""

    prompt: str
    response: str
    labels: Mapping[str, int]
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Task:
    """One category of one set: what is judged, and what is true."""

    category: str
    passages: tuple[Passage, ...]
    labels: Labels
    groups: Groups
    fields: tuple[Mapping[str, str], ...] = field(repr=False)

    @property
    def stage(self) -> Stage:
        """That of most of its texts."""
        return Counter(p.stage for p in self.passages).most_common(1)[0][0]

    @property
    def both_labels(self) -> bool:
        return 0 < int(self.labels.sum()) < len(self.labels)


def read(path: Path) -> list[Line]:
    """Lines of a JSONL file, `.gz` or not. Raises SetError for the first that is wrong, or when there is none."""
    try:
        lines = [_line(text, f"{path}:{number}") for number, text in _written(path)]
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise SetError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not lines:
        raise SetError(f"{path}: is empty")
    return lines


def training(folder: Path) -> Iterator[Line]:
    """Labelled lines of a data folder (`train/*.jsonl*`); lines of another shape are stepped over."""
    for path in sorted((folder / "train").glob("*.jsonl*")):
        for number, text in _written(path):
            with suppress(SetError):
                yield _line(text, f"{path}:{number}")


def _written(path: Path) -> Iterator[tuple[int, str]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        yield from ((number, text) for number, text in enumerate(file, 1) if text.strip())


def _line(text: str, where: str) -> Line:
    try:
        line = json.loads(text)
        prompt, response, labels = line.get("prompt") or "", line.get("response") or "", line["labels"]
        known = {str(c): int(v) for c, v in labels.items() if v is not None}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        shape = '{"prompt": "...", "response": "...", "labels": {"harm": 1}}'
        raise SetError(f"{where}: not a labelled line ({type(error).__name__}: {error}); one is {shape}") from error
    if not (isinstance(prompt, str) and isinstance(response, str)) or not (prompt or response):
        raise SetError(f"{where}: prompt and response are strings or null, and one of them holds text")
    if wrong := sorted(c for c, v in labels.items() if v is not None and v not in (0, 1)):
        raise SetError(f"{where}: labels {wrong} are neither 0 nor 1; leave out what is unknown")
    return Line(prompt, response, known, dict(_fields(line)))


def _fields(line: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in line.items():
        if name not in ("prompt", "response", "labels") and isinstance(value, (str, int, float)):
            yield name, str(value)


def tasks(lines: Sequence[Line], guard: Guard, group: str = "group") -> tuple[dict[str, Task], dict[str, int]]:
    """What `guard` can be asked of a set, by category; and of each label the lines that it cannot judge.

    A label is about the response where there is one and the guard judges the category there, else about the prompt.
    Lines with the same `group` field, or with the same text, are drawn together in bootstraps and folds.
    """
    found: dict[str, list[tuple[Passage, Line]]] = {}
    left: Counter[str] = Counter()
    for line in lines:
        for category in line.labels:
            passage = _judged(line, category, guard)
            if passage is None:
                left[category] += 1
            else:
                found.setdefault(category, []).append((passage, line))
    made = {category: _task(category, pairs, group) for category, pairs in sorted(found.items())}
    return made, dict(left)


def _judged(line: Line, category: str, guard: Guard) -> Passage | None:
    if line.response and category in guard.covers("output"):
        return Passage(line.response, "response", line.prompt)
    if line.prompt and category in guard.covers("input"):
        return Passage(line.prompt)
    return None


def _task(category: str, pairs: Sequence[tuple[Passage, Line]], group: str) -> Task:
    labels = np.array([line.labels[category] for _, line in pairs], np.int64)
    names = [line.fields.get(group) or plain(p.text) for p, line in pairs]
    return Task(category, tuple(p for p, _ in pairs), labels, numbered(names), tuple(line.fields for _, line in pairs))


def slices(task: Task, name: str) -> dict[str, Sequence[int]]:
    """Row numbers by value of a field; empty when it does not divide the rows, or its values are no short names."""
    found: dict[str, list[int]] = {}
    for nth, fields in enumerate(task.fields):
        if (value := fields.get(name)) is not None:
            found.setdefault(value, []).append(nth)
    if len(found) < 2 or len(found) > 200 or max(map(len, found)) > LONGEST_NAME:
        return {}
    return {value: found[value] for value in sorted(found)}


def plain(text: str) -> str:
    """Letters and digits alone, in lower case: texts equal in it are the same text."""
    return re.sub(r"[\W_]+", " ", text.casefold()).strip()


def seen(lines: Iterable[Line], known: Iterable[Line]) -> int:
    """How many of the lines' judged texts are, word for word, among the known ones."""
    texts = {plain(text) for line in known for text in (line.prompt, line.response) if text}
    return sum(plain(line.response or line.prompt) in texts for line in lines)
