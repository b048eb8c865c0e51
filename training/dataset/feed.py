"""Reads where examples come from: reviewed traffic from a file or a running service, and public files."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from training.dataset.items import Example, Item, Json, Kind
from training.rows import DataError, Row, pair_rows, parsed, rows_of
from training.service_client import Service

SCHEMES: Final = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Origin:
    """A source as it was read. `name` tells it from others wherever it lies."""

    uri: str
    name: str
    kind: str  # feed or public
    sha256: str
    examples: list[Example]

    @property
    def stated(self) -> Json:
        """For the manifest."""
        licenses = sorted({e.item.license for e in self.examples})
        return {
            "uri": self.uri,
            "name": self.name,
            "kind": self.kind,
            "sha256": self.sha256,
            "license": licenses,
            "rows": len(self.examples),
        }


def feed(uri: str, key: str | None = None) -> Origin:
    """Reviewed traffic. `key`: an operator's, of a URL. Raises DataError."""
    data = fetched(uri, key)
    name = urlsplit(uri).query or "guards" if uri.startswith(SCHEMES) else Path(uri).name
    rows = parsed(_lines(data, uri), uri)
    found = [_reviewed(row, f"{uri}:{number}") for number, row in rows]
    return Origin(uri, name, "feed", hashlib.sha256(data).hexdigest(), found)


def public(path: Path, pairs: bool = False) -> Origin:
    """A file of labelled rows, or with `pairs` of preference pairs. Raises DataError."""
    data = fetched(str(path))
    rows = parsed(_lines(data, str(path)), str(path))
    found = [e for number, row in rows for e in _public(row, path.name, number, pairs, str(path))]
    return Origin(str(path), path.name, "public", hashlib.sha256(data).hexdigest(), found)


def fetched(uri: str, key: str | None = None) -> bytes:
    """What is at a file or URL, unpacked. Raises DataError."""
    if uri.startswith(SCHEMES):
        parts = urlsplit(uri)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        return Service(f"{parts.scheme}://{parts.netloc}", key).text("GET", path).encode()
    try:
        data = Path(uri).read_bytes()
        return gzip.decompress(data) if uri.endswith(".gz") else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{uri}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _lines(data: bytes, where: str) -> list[str]:
    try:
        return data.decode().split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: is not UTF-8") from error


def _reviewed(row: Json, where: str) -> Example:
    try:
        kind: Kind = "pair" if "chosen" in row else row["kind"]
        texts = _texts(kind, row)
        made = Item(
            id=str(row["id"]),
            key="",
            kind=kind,
            origin=_origin(row),
            labels={str(c): int(v) for c, v in row.get("labels", {}).items()},
            distribution={str(c): float(v) for c, v in (row.get("distribution") or {}).items()},
            weight=float(row.get("weight", 1.0)),
            split="",
            source="machine" if row["source"] == "machine" else "human",
            license=str(row["license"]),
            group=str(row.get("group") or row["id"]),
            reviewers=tuple(row.get("by") or ()),
            agreement=row.get("agreement"),
            why=row.get("why"),
            inclusion_probability=row.get("inclusion_probability"),
        )
        known = {"reviewers": int(row.get("reviewers") or len(made.reviewers))}
        told = {name: str(row.get(name) or "") for name in ("caller", "subject", "state")}
        return Example(made, texts, **told, at=float(row.get("at") or 0), extra=known)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        fault = f"{where}: not a row of the review feed ({error!r}); see docs/datasets.md"
        raise DataError(fault) from error


def _origin(row: Json) -> Json:
    if "exchanges" in row:
        return {"exchanges": list(row["exchanges"])}
    return {"exchange_id": row.get("exchange_id"), "item_id": row.get("item_id"), "decisions": row.get("decisions", [])}


def _texts(kind: Kind, row: Json) -> Json:
    names = {
        "prompt": ("prompt",),
        "response": ("prompt", "response"),
        "pair": ("prompt", "chosen", "rejected"),
        "preferred": ("messages",),
    }[kind]
    texts = {name: row[name] for name in names}
    return {name: messages(text) for name, text in texts.items()} if kind in ("pair", "preferred") else texts


def messages(said: Any) -> list[dict[str, str]]:
    """As a list of `{role, content}`; a bare text is a user's. Raises KeyError, TypeError."""
    if isinstance(said, str):
        return [{"role": "user", "content": said}]
    return [{"role": str(turn["role"]), "content": str(turn["content"])} for turn in said]


def _public(row: Json, file: str, number: int, pairs: bool, where: str) -> Iterator[Example]:
    try:
        if ("chosen" in row and pairs) or "messages" in row:
            yield _public_dialogue(row, file, number)
            return
        of_pair = enumerate(pair_rows(row)) if "chosen" in row else [(0, row)]
        for side, given in of_pair:
            given["labels"], given["source"], given["license"]
            for made in rows_of(given):
                yield _labelled(made, given, file, number, f"{file}:{number}" + (f".{side}" if "chosen" in row else ""))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where}:{number}: not a labelled row ({error!r}); see docs/datasets.md") from error


def _labelled(made: Row, given: Json, file: str, number: int, id_: str) -> Example:
    kind: Kind = "response" if made.is_response else "prompt"
    texts = {"prompt": made.prompt, "response": made.text} if made.is_response else {"prompt": made.text}
    found = _item(f"{id_}:{kind}", kind, made.source, made.license, file, number)
    group = f"{made.source.split('_')[0]}/{made.group}" if made.group else ""
    shares = {str(c): float(v) for c, v in (given.get("distribution") or {}).items() if c in made.labels}
    found = replace(found, labels=dict(made.labels), distribution=shares, weight=made.weight, group=group)
    return Example(found, texts)


def _public_dialogue(row: Json, file: str, number: int) -> Example:
    kind: Kind = "pair" if "chosen" in row else "preferred"
    found = _item(f"{file}:{number}:{kind}", kind, row["source"], row["license"], file, number)
    found = replace(found, agreement=row.get("agreement"), group=str(row.get("group") or ""))
    if kind == "preferred":
        return Example(found, {"messages": messages(row["messages"])})
    turns = {side: dialogue(row[side]) for side in ("chosen", "rejected")}
    asked = messages(row["prompt"]) if "prompt" in row else turns["chosen"][:-1]
    return Example(found, {"prompt": asked} | {side: said[-1:] for side, said in turns.items()})


def dialogue(said: Any) -> list[dict[str, str]]:
    """Messages, of messages or of HH-RLHF's strings. Raises ValueError."""
    if not isinstance(said, str):
        return messages(said)
    turns: list[dict[str, str]] = []
    for part in said.split("\n\nHuman:")[1:]:
        asked, *answers = part.split("\n\nAssistant:")
        turns.append({"role": "user", "content": asked.strip()})
        turns += [{"role": "assistant", "content": answer.strip()} for answer in answers]
    if not turns:
        raise ValueError("no turns in it")
    return turns


def _item(id_: str, kind: Kind, of: str, license_: str, file: str, number: int) -> Item:
    origin = {"file": file, "line": number, "of": of}
    source: Any = "machine" if of == "machine" else "public"
    return Item(id_, "", kind, origin, {}, {}, 1.0, "", source, license_, "")
