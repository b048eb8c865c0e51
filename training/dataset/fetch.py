"""Brings public data from where its makers keep it, as rows of ours; sources: `recipes/sources.yaml`."""

import asyncio
import csv
import gzip
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import aiohttp
from pydantic import Field, RootModel

from guards.document import Strict
from training import document
from training.dataset.items import Json
from training.rows import LICENSES, DataError
from training.sample import write

SOURCES: Final = Path(__file__).parents[1] / "recipes" / "sources.yaml"
NOTED: Final = "fetched.json"
MOST_BYTES: Final = 500 * 2**20
TIMEOUT_S: Final = 300.0


class Of(Strict):
    """1 where a column has one of the values, else 0."""

    column: str
    one: tuple[str, ...]


class Source(Strict):
    """Where data is and how it is read. `form`: csv, jsonl: by column; tree: texts at the leaves; pairs as they are."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    license: str
    form: Literal["csv", "jsonl", "tree", "pairs"]
    prompt: str = ""
    response: str = ""
    labels: dict[str, Literal[0, 1] | Of] = Field({})
    sha256: str | None = None
    evaluation: bool = False


class Sources(RootModel[dict[str, Source]]):
    """By name."""


def fetch(out: Path, only: Sequence[str] = (), sources: Path | None = None) -> Iterator[str]:
    """Writes `<name>.jsonl.gz` for each source into `out`, evaluation sets into `dev` beside it; tells of each.

    Raises:
        DataError: a source is not known, cannot be reached, is not what it was, or cannot be read; others stay.
    """
    known = _sources(sources or SOURCES)
    if unknown := sorted(set(only) - known.keys()):
        raise DataError(f"no source {', '.join(unknown)}; known: {', '.join(known)}")
    for name, source in known.items():
        if only and name not in only:
            continue
        folder = out.parent / "dev" if source.evaluation else out
        data = asyncio.run(_got(name, source.url))
        digest = _checked(name, source, data, out / NOTED)
        rows = _rows(name, source, data)
        write(folder / f"{name}.jsonl.gz", rows)
        _note(out / NOTED, name, digest)
        yield f"{name}: {len(rows)} rows, {source.license}, {digest[:12]}, {folder / name}.jsonl.gz"


def _sources(path: Path) -> dict[str, Source]:
    found = document.load(Sources, path).root
    if barred := {name: s.license for name, s in found.items() if s.license not in LICENSES}:
        raise DataError(f"{path}: licences that are not allowed: {barred}; allowed: {', '.join(sorted(LICENSES))}")
    return found


async def _got(name: str, url: str) -> bytes:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session, session.get(url) as response:
            if response.status != 200:
                raise DataError(f"{name}: {url} answers {response.status}; did its makers move it?")
            data = await response.content.read(MOST_BYTES + 1)
            while not response.content.at_eof() and len(data) <= MOST_BYTES:
                data += await response.content.read(MOST_BYTES + 1 - len(data))
    except (aiohttp.ClientError, TimeoutError) as error:
        why = str(error) or type(error).__name__
        raise DataError(f"{name}: {url} cannot be reached ({why}); without a network, copy the data here") from error
    if len(data) > MOST_BYTES:
        raise DataError(f"{name}: {url} is larger than {MOST_BYTES // 2**20} MiB")
    return data


def _checked(name: str, source: Source, data: bytes, noted: Path) -> str:
    """The checksum. Raises DataError when another one is pinned, or was noted when it first came."""
    found = hashlib.sha256(data).hexdigest()
    before = source.sha256 or _noted(noted).get(name)
    if before and before != found:
        where = "the file of sources" if source.sha256 else str(noted)
        raise DataError(f"{name}: not what it was: sha256 {found}, and {where} says {before}; find out why it changed")
    return found


def _noted(path: Path) -> dict[str, str]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _note(path: Path, name: str, digest: str) -> None:
    path.write_text(json.dumps(_noted(path) | {name: digest}, indent=1) + "\n", encoding="utf-8")


def _rows(name: str, source: Source, data: bytes) -> list[Json]:
    try:
        body = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        rows = [_row(name, source, one) for one in _objects(source, body.decode("utf-8-sig"))]
    except (KeyError, ValueError, OSError, TypeError) as error:
        raise DataError(
            f"{name}: not in the form that is stated ({error!r}); its makers may have changed it"
        ) from error
    if not rows:
        raise DataError(f"{name}: no rows in {source.url}")
    return rows


def _objects(source: Source, body: str) -> Iterator[Mapping[str, Any]]:
    if source.form == "csv":
        yield from csv.DictReader(io.StringIO(body))
    elif source.form == "tree":
        yield from ({"": text} for text in _leaves(json.loads(body)))
    else:
        yield from (json.loads(line) for line in body.split("\n") if line.strip())


def _leaves(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    else:
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from _leaves(branch)


def _row(name: str, source: Source, given: Mapping[str, Any]) -> Json:
    stated = {"source": name, "license": source.license}
    if source.form == "pairs":
        return {"chosen": given["chosen"], "rejected": given["rejected"]} | stated
    labels = {c: int(given[of.column] in of.one) if isinstance(of, Of) else of for c, of in source.labels.items()}
    response = given[source.response] if source.response else None
    return {"prompt": given[source.prompt], "response": response, "labels": labels} | stated
