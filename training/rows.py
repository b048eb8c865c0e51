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
    return [row for path in paths for line in _lines(path) for row in _rows(line) if row.license in licenses]


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


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                parsed = _pair(row) if "chosen" in row else [row]
                for given in parsed:
                    given["labels"], given["source"], given["license"]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path}:{number}: not a labelled row ({error}); see the data format") from error
            yield from parsed


PAIR_WEIGHT: Final = 0.4  # people preferred one of two answers: weak evidence that the other one does harm


def _pair(line: dict[str, Any]) -> list[dict[str, Any]]:
    """The two last answers of a preference pair over harmlessness, after what the user said last."""
    found = []
    for field_, label in (("chosen", 0), ("rejected", 1)):
        dialogue, _, response = line[field_].rpartition("\n\nAssistant:")
        prompt = dialogue.rpartition("\n\nHuman:")[2]
        row = {"prompt": prompt.strip(), "response": response.strip(), "labels": {"response_harm": label}}
        found.append(row | {"source": line["source"], "license": line["license"], "weight": PAIR_WEIGHT})
    return found


_OF_PROMPTS: Final = ("harm", "injection")
_OF_RESPONSES: Final = ("response_harm",)


def _rows(line: dict[str, Any]) -> Iterator[Row]:
    """What is said of a pair holds for the part that the category is about; other categories for what is there."""
    prompt, response = line.get("prompt") or "", line.get("response") or ""
    extra = {k: v for k, v in line.items() if k not in ("prompt", "response", "labels", "source", "license")}
    common = {"source": line["source"], "license": line["license"], "group": str(line.get("group") or "")}
    common |= {"weight": float(line.get("weight", 1.0)), "extra": extra}
    of_response = {c: v for c, v in line["labels"].items() if c not in _OF_PROMPTS}
    of_prompt = {c: v for c, v in line["labels"].items() if c not in _OF_RESPONSES}
    if response and of_response:
        yield Row(response, of_response, prompt=prompt, is_response=True, **common)
    if prompt and of_prompt and (not response or any(c in _OF_PROMPTS for c in of_prompt)):
        yield Row(prompt, {c: v for c, v in of_prompt.items() if not response or c in _OF_PROMPTS}, **common)
