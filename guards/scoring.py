"""Scores a file of `{prompt, response}` lines with a guard. A bad line stops it before anything is written."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from guards.guard import Guard
from guards.verdict import Passage, Scores

CHUNK: Final = 2048  # lines judged at once: enough for batches of like length, little enough for memory


class BadLine(ValueError):
    """A line that cannot be scored. The message names file, line and fault."""


def score_file(guard: Guard, source: Path, target: Path, progress: Callable[[int, int], None] | None = None) -> int:
    """Writes each line of `source` with `scores: {category: probability}` to `target`; returns the count of lines.

    Args:
        progress: called with lines done and lines in all.

    Raises:
        BadLine: a line is no object, or holds neither prompt nor response; `target` is untouched then.
        GuardError: the guard failed; `target` is untouched then.
    """
    lines = list(_read(source))
    unfinished = target.with_name(f"{target.name}.part")
    try:
        with unfinished.open("w", encoding="utf-8") as out:
            for start in range(0, len(lines), CHUNK):
                chunk = lines[start : start + CHUNK]
                for line, scores in zip(chunk, score(guard, chunk), strict=True):
                    out.write(json.dumps(line | {"scores": scores}, ensure_ascii=False) + "\n")
                if progress:
                    progress(start + len(chunk), len(lines))
        unfinished.replace(target)
    except OSError as error:
        raise BadLine(f"{target}: cannot be written ({error.strerror})") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return len(lines)


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


def _read(source: Path) -> Iterator[dict[str, Any]]:
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
