"""Texts of a version, read from its feeds again: what is erased there is not to be had any more."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from training.dataset.feed import SCHEMES, feed, public
from training.dataset.items import Example, Json, text_key
from training.dataset.recipe import IN_DATA, SPLITS, files
from training.dataset.version import Version, load, secret
from training.rows import DataError, Row


@dataclass(frozen=True, slots=True)
class Materialised:
    """`missing`: items that no feed has any more. `changed`: those of another text than was learnt from, left out."""

    examples: list[Example]
    missing: int
    changed: int

    @property
    def told(self) -> str:
        gone = f", {self.missing} missing (erased at their feed, or the feed is not given)" if self.missing else ""
        return f"{len(self.examples)} rows{gone}" + (f", {self.changed} changed" if self.changed else "")


def materialise(folder: Path, feeds: Sequence[str | Path] = (), key: str | None = None) -> dict[str, list[Row]]:
    """Rows to train guards on by split (`train`, `validation`, `test`).

    `feeds`: where the texts are (files, folders, URLs), by default where they were. Raises DataError.
    """
    parts: dict[str, list[Row]] = {part: [] for part in SPLITS}
    for example in materialised(load(Path(folder)), feeds, key).examples:
        if example.item.kind in ("prompt", "response"):
            parts[example.item.split].append(row(example))
    return parts


def materialised(version: Version, feeds: Sequence[str | Path] = (), key: str | None = None) -> Materialised:
    """Items with their texts, in order. Raises DataError when a source cannot be read."""
    wanted = {item.id: item for item in version.items}
    hidden, found, changed = secret(), dict[str, Example](), 0
    for example in _all(version, [str(f) for f in feeds], key):
        item = wanted.get(example.item.id)
        if item is None or item.id in found:
            continue
        if text_key(hidden, example) == item.key:
            found[item.id] = replace(example, item=item)
        else:
            changed += 1
    if not found and version.items:
        raise DataError(
            f"{version.id}: none of its {len(version.items)} texts is in these feeds; was it built with another key?"
        )
    kept = [found[item.id] for item in version.items if item.id in found]
    return Materialised(kept, len(version.items) - len(kept) - changed, changed)


def row(example: Example) -> Row:
    """As guards are trained on."""
    item, texts = example.item, example.texts
    extra: Json = {"id": item.id, "distribution": item.distribution, "agreement": item.agreement, "why": item.why}
    return Row(
        text=texts.get("response") or texts["prompt"],
        labels=dict(item.labels),
        source=item.of,
        license=item.license,
        prompt=texts["prompt"] if item.kind == "response" else "",
        is_response=item.kind == "response",
        group=item.group,
        weight=item.weight,
        extra=extra,
    )


def _all(version: Version, given: Sequence[str], key: str | None) -> Iterator[Example]:
    names = {s["name"]: s for s in version.manifest["sources"]}
    pairs = any(item.kind == "pair" for item in version.items)
    for uri in given or [s["uri"] for s in names.values()]:
        if uri.startswith(SCHEMES):
            yield from feed(uri, key).examples
            continue
        for path in files(uri if uri.startswith(IN_DATA) or Path(uri).exists() else _gone(uri)):
            stated = names.get(path.name)
            if stated is None and Path(uri).is_dir():
                continue
            of_feed = stated["kind"] == "feed" if stated else True
            yield from (feed(str(path), key) if of_feed else public(path, pairs)).examples


def _gone(uri: str) -> str:
    raise DataError(f"{uri}: no such feed any more; give where it is now with --feed")
