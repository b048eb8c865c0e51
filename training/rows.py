"""Labelled rows from JSONL files. Nothing enters without a licence on the allow-list."""

import gzip
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Final

from guards.verdict import Passage

LICENSES: Final = frozenset({"MIT", "Apache-2.0", "ODC-BY", "CC-BY-4.0", "CC0-1.0"})


class DataError(ValueError):
    """The data cannot be used. The message names the file, the line and what to do."""


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled text: a prompt, or a response with or without its prompt. A category not in `labels` is unknown."""

    text: str
    labels: dict[str, int]
    source: str
    license: str
    prompt: str = ""
    is_response: bool = False
    group: str = ""
    weight: float = 1.0
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def passage(self) -> Passage:
        return Passage(self.text, "response" if self.is_response else "prompt", self.prompt)

    def as_response(self, prompt: str) -> "Row":
        return replace(self, prompt=prompt, is_response=True)


def data_folder() -> Path:
    """`SLUICEGATE_DATA`, or `../shared/data` where that exists. Raises DataError when there is neither."""
    folder = Path(os.environ.get("SLUICEGATE_DATA") or "../shared/data")
    if not folder.is_dir():
        raise DataError(f"no training data at {folder}: set SLUICEGATE_DATA to a folder with train/*.jsonl.gz")
    return folder


def read(paths: Iterable[Path], licenses: Collection[str] = LICENSES) -> list[Row]:
    """Rows of all files whose licence is allowed. A line with prompt and response gives two: each is a text to judge.

    Raises:
        DataError: a line is not an object with `labels`, `source` and `license`.
    """
    return [row for path in paths for _, line in lines(path) for row in rows_of(line) if row.license in licenses]


def take(rows: Iterable[Row], most: Mapping[str, int], random: Random) -> list[Row]:
    """At most `most[source]` rows of each source, drawn at random. Sources that are not named stay out."""
    by_source: dict[str, list[Row]] = {}
    for row in rows:
        by_source.setdefault(row.source, []).append(row)
    kept: list[Row] = []
    for source, count in sorted(most.items()):
        found = by_source.get(source, [])
        kept += found if len(found) <= count else random.sample(found, count)
    return kept


def lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Labelled objects of a file with the numbers of their lines, from 1; a preference pair gives both its answers.

    Raises:
        DataError: a line is not an object with `labels`, `source` and `license`.
    """
    for number, row in objects(path):
        try:
            found = pair_rows(row) if "chosen" in row else [row]
            for given in found:
                given["labels"], given["source"], given["license"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}:{number}: not a labelled row ({error}); see the data format") from error
        yield from ((number, given) for given in found)


def objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a JSONL file, gzipped or not, with the numbers of their lines, from 1. Raises DataError."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        yield from parsed(file, str(path))


def parsed(given: Iterable[str], where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of lines, with their numbers; empty lines say nothing.

    Raises:
        DataError: a line is not an object.
    """
    for number, line in enumerate(given, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{where}:{number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise DataError(f"{where}:{number}: not an object")
        yield number, row


PAIR_WEIGHT: Final = 0.4  # people preferred one of two answers: weak evidence that the other one does harm


def pair_rows(line: dict[str, Any]) -> list[dict[str, Any]]:
    """The two answers of a preference pair, after what the user said last.

    HH-RLHF's strings prefer what is harmless, so each answer gets a weak label. TRL's conversations, as reviewers'
    rankings are exported, prefer what is better in any way: no label, unless the pair says `about: harmless`.
    """
    harmless = line.get("about", "harmless" if isinstance(line["chosen"], str) else "") == "harmless"
    found = []
    for side, label in (("chosen", 0), ("rejected", 1)):
        prompt, response = _last_turn(line.get("prompt", ""), line[side])
        row = {"prompt": prompt, "response": response, "labels": {"response_harm": label} if harmless else {}}
        found.append(row | {"source": line["source"], "license": line["license"], "weight": PAIR_WEIGHT})
    return found


def _last_turn(asked: Any, answered: Any) -> tuple[str, str]:
    """What the user said last and what was answered, of HH-RLHF's strings or of TRL's messages."""
    if isinstance(answered, str):
        dialogue, _, response = answered.rpartition("\n\nAssistant:")
        return dialogue.rpartition("\n\nHuman:")[2].strip(), response.strip()
    turns = [*([{"role": "user", "content": asked}] if isinstance(asked, str) else asked), *answered]
    prompt = next((t["content"] for t in reversed(turns) if t["role"] == "user"), "")
    return str(prompt).strip(), str(turns[-1]["content"]).strip()


_OF_PROMPTS: Final = ("harm", "injection")
_OF_RESPONSES: Final = ("response_harm",)


def rows_of(line: dict[str, Any]) -> Iterator[Row]:
    """What is said of a pair holds for the part that the category is about; other categories for what is there.

    A line of `kind: response` has its prompt as context alone.
    """
    prompt, response = line.get("prompt") or "", line.get("response") or ""
    extra = {k: v for k, v in line.items() if k not in ("prompt", "response", "labels", "source", "license")}
    common = {"source": line["source"], "license": line["license"], "group": str(line.get("group") or "")}
    common |= {"weight": float(line.get("weight", 1.0)), "extra": extra}
    of_response = {c: v for c, v in line["labels"].items() if c not in _OF_PROMPTS}
    of_prompt = {c: v for c, v in line["labels"].items() if c not in _OF_RESPONSES}
    if response and of_response:
        yield Row(response, of_response, prompt=prompt, is_response=True, **common)
    if (
        prompt
        and of_prompt
        and line.get("kind") != "response"
        and (not response or any(c in _OF_PROMPTS for c in of_prompt))
    ):
        yield Row(prompt, {c: v for c, v in of_prompt.items() if not response or c in _OF_PROMPTS}, **common)
