"""Builds a version of a dataset from feeds and public files: the same sources and rules give the same digest."""

import hashlib
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from training.dataset import card, rules, version
from training.dataset.feed import Origin, feed, fetched, public
from training.dataset.items import Example, Item, Json, text_key
from training.dataset.recipe import SPLITS, Leakage, Recipe, files
from training.dataset.version import Version
from training.rows import DataError


@dataclass(frozen=True, slots=True)
class Chosen:
    """What enters, in order of its ids, and why the rest does not."""

    examples: list[Example]
    left: Counter[str]


def build(recipe: Recipe, key: str | None = None) -> Version:
    """The version in the registry, with its card; `key`: an operator's, for feeds behind HTTP.

    Raises:
        DataError: a source cannot be read, a text leaks where that is forbidden, a cap cannot be kept, nothing is left.
    """
    origins = read(recipe, key)
    chosen = choose([e for origin in origins for e in origin.examples], recipe)
    hidden = version.secret()
    items = [replace(e.item, key=text_key(hidden, e)) for e in chosen.examples]
    made = version.write(_manifest(recipe, origins, items, chosen.left), items)
    card.write(made)
    return made


def read(recipe: Recipe, key: str | None = None) -> list[Origin]:
    """All sources of a recipe. Raises DataError."""
    feeds = [feed(uri, key) for uri in recipe.feeds]
    return feeds + [public(path, "pair" in recipe.kinds) for given in recipe.public for path in files(given)]


def choose(examples: Sequence[Example], recipe: Recipe) -> Chosen:
    """All rules, one after another. Raises DataError."""
    left = Counter[str]()
    kept = rules.usable(_once(examples), recipe, left)
    kept = rules.unleaked(kept, evaluation_sets(recipe.leakage), recipe.leakage.least, left)
    _no_leak(recipe.leakage, left)
    kept = rules.distinct(kept, recipe.near, left)
    kept = rules.capped(kept, recipe.caps, recipe.seed, left)
    kept = rules.parted(list(rules.weighted(kept, recipe.weight_most)), recipe.split, recipe.seed)
    if not kept:
        raise DataError(f"nothing is left of {len(examples)} rows: {_told(left) or 'the sources are empty'}")
    return Chosen(sorted(kept, key=lambda e: e.item.id), left)


def evaluation_sets(leakage: Leakage) -> dict[str, list[str]]:
    """Name -> its texts. Raises DataError when a set is missing: an unchecked set would pass for a clean one."""
    return {name: [text for path in files(where) for text in _texts(path)] for name, where in leakage.sets.items()}


def _texts(path: Path) -> list[str]:
    return [text for example in public(path).examples for text in example.judged]


def _no_leak(leakage: Leakage, left: Counter[str]) -> None:
    leaks = {name: n for name, n in left.items() if name.startswith("leaks from")}
    if leaks and leakage.on_leak == "fail":
        raise DataError(
            f"{_told(Counter(leaks))}: texts of evaluation sets are among the sources, and the recipe says"
            " `on_leak: fail`; take them out, or say `on_leak: drop`"
        )


def _once(examples: Iterable[Example]) -> list[Example]:
    """Raises DataError when two examples have one id: nobody could tell them apart later."""
    seen: dict[str, Example] = {}
    for example in examples:
        if seen.setdefault(example.item.id, example) is not example:
            raise DataError(
                f"{example.item.id}: two rows of this id; is a source given twice, or two files of one name?"
            )
    return list(seen.values())


def _manifest(recipe: Recipe, origins: Sequence[Origin], items: Sequence[Item], left: Counter[str]) -> Json:
    leaks = {name.removeprefix("leaks from "): n for name, n in left.items() if name.startswith("leaks from")}
    return {
        "name": recipe.name,
        "made_at": time.time(),
        "seed": recipe.seed,
        "revision": revision(),
        "sources": [origin.stated for origin in origins],
        "rules": recipe.rules,
        "counts": counts(items),
        "splits": {part: sum(i.split == part for i in items) for part in SPLITS},
        "left_out": dict(sorted(left.items())),
        "leakage": [
            {
                "set": name,
                "where": where,
                "sha256": _digest(where),
                "least": recipe.leakage.least,
                "found": leaks.get(name, 0),
            }
            for name, where in recipe.leakage.sets.items()
        ],
        "parents": list(recipe.parents),
    }


def _digest(where: str) -> str:
    return hashlib.sha256(b"".join(fetched(str(path)) for path in files(where))).hexdigest()


def counts(items: Sequence[Item]) -> Json:
    """Rows by kind, by source, by licence, and by category and label."""
    labels: dict[str, Counter[str]] = {}
    for item in items:
        for category, label in item.labels.items():
            labels.setdefault(category, Counter())[str(label)] += 1
    return {
        "rows": len(items),
        "kinds": dict(sorted(Counter(i.kind for i in items).items())),
        "sources": dict(sorted(Counter(i.of for i in items).items())),
        "licenses": dict(sorted(Counter(i.license for i in items).items())),
        "labels": {category: dict(sorted(found.items())) for category, found in sorted(labels.items())},
        "machine": sum(i.source == "machine" for i in items),
        "reviewed": sum(i.source == "human" for i in items),
        "exchanges": len({e for i in items for e in i.exchanges}),
    }


def revision() -> str:
    """Of the code, with a `+` where it was changed; nothing where there is no git."""
    asked = ["git", "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    except OSError:
        return ""
    return done.stdout.strip()


def _told(left: Counter[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in left.most_common())
