"""Attempts on disk, all of them; the pack of those that succeeded; seeds. Files hold attacks: owner's eyes only."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import TextIO

from training.redteam.search import Attempt, Seed, attempt_of
from training.rows import DataError, lines
from training.synthesize import synthesize

YAML = frozenset({".yaml", ".yml"})


def seeds(path: Path, most: int, seed: int = 7) -> list[Seed]:
    """At most `most` harmful requests, drawn: labelled rows (JSONL), or templates of machine rows (YAML).

    Raises:
        DataError: there is no such file, or nothing harmful in it.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; give labelled rows (.jsonl, .jsonl.gz) or templates (.yaml)")
    found = list(dict.fromkeys(_templates(path, seed) if path.suffix in YAML else _rows(path)))
    if not found:
        raise DataError(f"{path}: no prompt in it is labelled harmful, so there is nothing to begin with")
    return found if len(found) <= most else Random(seed).sample(found, most)


def _templates(path: Path, seed: int) -> Iterable[Seed]:
    with_slots = path.with_name("machine.yaml")  # the others fill their sentences with its slots
    paths = dict.fromkeys([with_slots, path]) if with_slots.is_file() else [path]
    for row in synthesize(20, seed, list(paths)):
        if not row.is_response and row.labels.get("harm") == 1:
            yield Seed(row.text, _named(row.labels))


def _rows(path: Path) -> Iterable[Seed]:
    for _, row in lines(path):
        if row["labels"].get("harm") == 1 and row.get("prompt"):
            yield Seed(row["prompt"], _named(row["labels"]))


def _named(labels: dict[str, int]) -> tuple[str, ...]:
    return tuple(sorted(c for c, label in labels.items() if label == 1 and c != "response_harm"))


def opened(path: Path) -> TextIO:
    """A file to append to that nobody else may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8")


def keep(file: TextIO, attempt: Attempt) -> None:
    """One line, on disk before the next attempt."""
    file.write(json.dumps(attempt.document(), ensure_ascii=False) + "\n")
    file.flush()


def read(path: Path) -> list[Attempt]:
    """Attempts of a file in their order. Raises DataError."""
    found = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    found.append(attempt_of(json.loads(line)))
                except (ValueError, KeyError, TypeError) as error:
                    raise DataError(f"{path}:{number}: not an attempt of `redteam` ({error})") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return found


def add(path: Path, attempts: Sequence[Attempt]) -> int:
    """Adds successes to a pack; how many were new to it."""
    known = {a.id for a in read(path)} if path.is_file() else set()
    new = [a for a in attempts if a.success and a.id not in known]
    with opened(path) as file:
        for attempt in new:
            keep(file, attempt)
    return len(new)
