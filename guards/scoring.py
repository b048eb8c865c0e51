"""Scores files of `{prompt, response}` lines with a guard."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from guards.guard import Guard
from guards.verdict import Passage, Scores

CHUNK: Final = 2048  # lines judged at once: enough for batches of like length, little enough for memory


class BadLine(ValueError):
    """A line that cannot be scored. The message names file, line and fault."""


def write_scored(
    guard: Guard, lines: Sequence[dict[str, Any]], target: Path, progress: Callable[[int, int], None]
) -> None:
    """Writes each line with `scores: {category: probability}` to `target`.

    Args:
        progress: called with lines done and lines in all.

    Raises:
        GuardError, OSError: the guard failed, or the file cannot be written; `target` is untouched then.
    """
    unfinished = target.with_name(f"{target.name}.part")
    try:
        with unfinished.open("w", encoding="utf-8") as out:
            for start in range(0, len(lines), CHUNK):
                chunk = lines[start : start + CHUNK]
                for line, scores in zip(chunk, score(guard, chunk), strict=True):
                    out.write(json.dumps(line | {"scores": scores}, ensure_ascii=False) + "\n")
                progress(start + len(chunk), len(lines))
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def score(guard: Guard, lines: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Scores by category for each line: of its prompt and of its response, the higher one where both have it."""
    passages: list[Passage] = []
    owners: list[int] = []
    for nth, line in enumerate(lines):
        prompt, response = line.get("prompt") or "", line.get("response") or ""
        if prompt:
            passages.append(Passage(prompt))
            owners.append(nth)
        if response:
            passages.append(Passage(response, "response", prompt))
            owners.append(nth)
    found: list[dict[str, float]] = [{} for _ in lines]
    for owner, scores in zip(owners, guard.judge(passages), strict=True):
        _merge(found[owner], scores)
    return found


def _merge(into: dict[str, float], scores: Scores) -> None:
    for category, probability in scores.by_category.items():
        into[category] = round(max(probability, into.get(category, 0.0)), 6)


def read_lines(source: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file. Raises BadLine for the first that holds neither prompt nor response."""
    return list(_lines(source))


def _lines(source: Path) -> Iterator[dict[str, Any]]:
    try:
        with source.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _line(line, f"{source}:{number}")
    except (OSError, UnicodeDecodeError) as error:
        raise BadLine(f"{source}: cannot be read: {error}") from error


def _line(text: str, where: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise BadLine(f"{where}: not JSON: {error}") from error
    if not isinstance(line, dict):
        raise BadLine(f'{where}: not an object; a line is {{"prompt": "...", "response": "..."}}')
    texts = [line.get("prompt"), line.get("response")]
    if not all(t is None or isinstance(t, str) for t in texts):
        raise BadLine(f"{where}: prompt and response are strings or null")
    if not any(texts):
        raise BadLine(f"{where}: neither prompt nor response holds text")
    return line
