"""Which examples enter, what they weigh and on which side they fall. Pure and deterministic.

Each rule returns what stays and counts in `left` what it leaves out, by reason.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from guards.taxonomy import CATEGORIES
from training.dataset.items import Example
from training.dataset.recipe import SPLITS, Caps, Recipe, Split
from training.near import Near
from training.rows import DataError
from training.split import fingerprint

RESTRICTED: Final = frozenset(c.name for c in CATEGORIES.values() if c.restricted)
UNSETTLED: Final = frozenset({"contested", "open", "closed"})
SAMPLED: Final = frozenset({"sample", "selected"})
Left = Counter[str]


def usable(examples: Iterable[Example], rules: Recipe, left: Left) -> list[Example]:
    """Settled, agreed upon, allowed. What is restricted never enters, wherever it comes from."""
    kept = []
    for example in examples:
        if fault := _fault(example, rules):
            left[fault] += 1
        else:
            kept.append(example)
    return _at_most(kept, rules, left)


def _fault(example: Example, rules: Recipe) -> str:
    item = example.item
    reviewed = item.source == "human"
    faults: Mapping[str, bool] = {
        "restricted": any(item.labels.get(c) == 1 for c in RESTRICTED),
        "kind": item.kind not in rules.kinds,
        "licence": item.license not in rules.licenses,
        "machine": item.source == "machine" and not rules.machine,
        "contested": reviewed and example.state in UNSETTLED,
        "little agreement": reviewed and item.agreement is not None and item.agreement < rules.least_agreement,
        "few reviewers": reviewed and item.kind != "pair" and example.extra.get("reviewers", 1) < rules.least_reviewers,
        "no label": item.kind in ("prompt", "response") and not item.labels,
        "no text": not example.said.strip(),
    }
    return next((name for name, holds in faults.items() if holds), "")


def _at_most(examples: Sequence[Example], rules: Recipe, left: Left) -> list[Example]:
    seen = Counter[str]()
    kept = set()
    for example in sorted(examples, key=lambda e: draw(e.item.id, rules.seed)):
        seen[example.item.of] += 1
        if seen[example.item.of] <= rules.most.get(example.item.of, len(examples)):
            kept.add(example.item.id)
        else:
            left["over the most of a source"] += 1
    return [e for e in examples if e.item.id in kept]


def unleaked(examples: Sequence[Example], sets: Mapping[str, Sequence[str]], least: float, left: Left) -> list[Example]:
    """Without what an evaluation set holds, or nearly; `left` tells by set."""
    near = {name: Near(least, texts) for name, texts in sets.items()}
    for name, texts in sets.items():
        for text in texts:
            near[name].add(text)
    kept = []
    for example in examples:
        where = next((n for n, seen in near.items() if any(seen.near(t) is not None for t in example.judged)), "")
        if where:
            left[f"leaks from {where}"] += 1
        else:
            kept.append(example)
    return kept


def distinct(examples: Sequence[Example], least: float, left: Left) -> list[Example]:
    """The first of those that say the same or nearly: reviewed before public before machine-made, the surest first."""
    kept: list[Example] = []
    kinds = {e.item.kind for e in examples}
    of_kind = {kind: Near(least, [e.said for e in examples if e.item.kind == kind]) for kind in kinds}
    known: set[tuple[str, str]] = set()
    for example in sorted(examples, key=_worth):
        same, seen = (example.item.kind, fingerprint(example.said)), of_kind[example.item.kind]
        if same in known:
            left["duplicate"] += 1
        elif seen.near(example.said) is not None:
            left["near duplicate"] += 1
        else:
            known.add(same)
            seen.add(example.said)
            kept.append(example)
    return kept


def _worth(example: Example) -> tuple[int, bool, int, float, str]:
    item = example.item
    rank = ("human", "public", "machine").index(item.source)
    return rank, example.state != "adjudicated", -example.extra.get("reviewers", 0), -example.at, item.id


def capped(examples: Sequence[Example], caps: Caps, seed: int, left: Left) -> list[Example]:
    """Nobody stands behind more than their share of the rows that stay; which of theirs stay is drawn by `seed`.

    Raises:
        DataError: so few callers, end users or reviewers there are that no share of them is small enough.
    """
    holders: dict[str, tuple[float, Callable[[Example], Sequence[str]]]] = {
        "caller": (caps.caller, lambda e: [e.caller] if e.caller else []),
        "subject": (caps.subject, lambda e: [e.subject] if e.subject else []),
        "reviewer": (caps.reviewer, lambda e: e.item.reviewers),
    }
    kept, before = list(examples), -1
    while len(kept) != before:  # a cap may put another one's share up again
        before = len(kept)
        for what, (share, of) in holders.items():
            kept = _cap(kept, what, share, of, seed, left)
    return kept


def _cap(
    examples: list[Example], what: str, share: float, of: Callable[[Example], Sequence[str]], seed: int, left: Left
) -> list[Example]:
    held = Counter(name for example in examples for name in of(example))
    if not held or max(held.values()) <= share * len(examples):
        return examples
    most = max(held.values())
    while (less := int(share * (len(examples) - sum(max(0, n - most) for n in held.values())))) < most:
        most = less
    if most < 1:
        raise DataError(
            f"one {what} stands behind {max(held.values())} of {len(examples)} rows, and caps.{what} allows a share of"
            f" {share}: add rows of others or public ones, or raise caps.{what} if you trust them"
        )
    taken = Counter[str]()
    over = set()
    for example in sorted(examples, key=lambda e: draw(e.item.id, seed)):
        if any(taken[name] >= most for name in of(example)):
            over.add(example.item.id)
        else:
            taken.update(of(example))
    left[f"cap of a {what}"] += len(over)
    return [e for e in examples if e.item.id not in over]


def weighted(examples: Iterable[Example], most: float) -> Iterator[Example]:
    """A row of a random sample stands for those not drawn too: one over its inclusion probability, at most `most`."""
    for example in examples:
        chance = example.item.inclusion_probability
        if chance and example.item.why in SAMPLED:
            example = replace(example, item=replace(example.item, weight=min(1 / chance, most)))
        yield example


def parted(examples: Sequence[Example], split: Split, seed: int) -> list[Example]:
    """Each with its split. Rows of one conversation, or to one prompt, fall together; where two such families meet, on
    the side that is held back further: what was tested on never slips into training when rows are added. A row draws
    its side once, by its conversation if it has one: so a split has its share.
    """
    families = _families(examples)
    side: dict[int, int] = defaultdict(int)
    for example, family in zip(examples, families, strict=True):
        side[family] = max(side[family], _side(_keys(example)[-1], split, seed))
        if any(draw(f"reviewer/{name}", seed) < split.reviewers for name in example.item.reviewers):
            side[family] = SPLITS.index("test")
    return [
        replace(example, item=replace(example.item, split=SPLITS[side[family]]))
        for example, family in zip(examples, families, strict=True)
    ]


def _families(examples: Sequence[Example]) -> list[int]:
    """A number for each example, the same for those that share a key, directly or through others (union-find)."""
    parent = list(range(len(examples)))

    def root(n: int) -> int:
        while parent[n] != n:
            parent[n] = parent[parent[n]]
            n = parent[n]
        return n

    first: dict[str, int] = {}
    for number, example in enumerate(examples):
        for key in _keys(example):
            parent[root(number)] = root(first.setdefault(key, number))
    return [root(number) for number in range(len(examples))]


def _keys(example: Example) -> tuple[str, ...]:
    asked = "asked/" + fingerprint(example.asked)
    return (asked, f"group/{example.item.group}") if example.item.group else (asked,)


def _side(key: str, split: Split, seed: int) -> int:
    point = draw(key, seed)
    for number, part in enumerate(SPLITS):
        point -= split.shares.get(part, 0.0)
        if point < 0:
            return number
    return max(n for n, part in enumerate(SPLITS) if split.shares.get(part, 0.0))


def draw(key: str, seed: int) -> float:
    """A number in [0, 1) that hangs on nothing else."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8).digest()) / 2**64
