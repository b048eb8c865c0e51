"""Rows made by machine from templates, marked `source: machine`. A file a theme: `training/recipes/machine*.yaml`.

A block gives its labels and templates; or templates and two `sides`, each with labels and fillings, so that the same
sentence is harmless or not by what fills it. Registers (how people type and frame what they ask) fall on both alike.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import yaml

from training.rows import Row

RECIPES: Final = Path(__file__).with_name("recipes")
TEMPLATES: Final = tuple(sorted(RECIPES.glob("machine*.yaml")))
SAMPLED: Final = tuple(sorted(RECIPES.with_name("data").glob("*.jsonl.gz")))  # what a chat model wrote: sample.py
PAIR: Final = " => "  # a filling may be a prompt and its answer
TRIES: Final = 3  # a row: some fillings come twice
_SLOT = re.compile(r"\{([a-z_]+)(\d*)\}")  # {place2}: another filling than that of {place}

Slots = Mapping[str, Sequence[str]]


def synthesize(count: int, seed: int, paths: Sequence[Path] = TEMPLATES) -> list[Row]:
    """Up to `count` different rows of each block in `paths` (`times` as many where it says so), sides in turns.

    The group of a row is what its label hangs on: the filling where a block has sides, else the template.
    """
    slots, blocks = load(paths)
    return [
        row for b in blocks for row in _rows(b, slots, round(count * b.get("times", 1)), Random(f"{seed}/{b['name']}"))
    ]


def load(paths: Sequence[Path] = TEMPLATES) -> tuple[dict[str, list[str]], list[dict[str, Any]]]:
    """Slots and blocks of all files. Raises ValueError when two files fill the same slot or name the same block."""
    slots: dict[str, list[str]] = {}
    blocks: dict[str, dict[str, Any]] = {}
    for path in paths:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = {block["name"]: block for block in recipe["blocks"]}
        if twice := (slots.keys() & recipe.get("slots", {}).keys()) | (blocks.keys() & found.keys()):
            raise ValueError(f"{path}: {sorted(twice)} stands in another file too")
        slots |= _listed(recipe.get("slots", {}))
        blocks |= found
    for side in (side for block in blocks.values() for side in block.get("sides", ())):
        side["slots"] = _listed(side["slots"])
    return slots, list(blocks.values())


def _listed(slots: Mapping[str, Any]) -> dict[str, list[str]]:
    """Fillings are a list, or one text with bars between them."""
    return {n: [v.strip() for v in f.split(" | ")] if isinstance(f, str) else f for n, f in slots.items()}


def _rows(block: Mapping[str, Any], slots: Slots, count: int, random: Random) -> list[Row]:
    sides = block.get("sides") or [{"labels": block["labels"]}]
    found: dict[tuple[str, str], Row] = {}
    for nth in range(TRIES * count):
        side = sides[nth % len(sides)]
        template = block["templates"][nth // len(sides) % len(block["templates"])]
        row = _row(block, side, template, slots, random)
        found.setdefault((row.text, row.prompt), row)
        if len(found) == count:
            break
    return list(found.values())


def _row(block: Mapping[str, Any], side: Mapping[str, Any], template: str, slots: Slots, random: Random) -> Row:
    own: Slots = side.get("slots", {})
    filling = Filling({**slots, **own}, random)
    prompt = filling(random.choice(block.get("prompts", [""])))
    text = filling(template)
    if "registers" in block:
        text = typed(filling(random.choice(slots[block["registers"]]).replace("{text}", text)), random)
    if PAIR in text:
        prompt, text = text.split(PAIR)
    return Row(
        text,
        {**block.get("labels", {}), **side["labels"]},
        source="machine",
        license="Apache-2.0",
        prompt=prompt,
        is_response=bool(block.get("response")),
        group=next((v for s, v in filling.chosen.items() if _name(s) in own), template),
        weight=float(block.get("weight", 1.0)),
    )


class Filling:
    """Fills slots until none is left; one name stands for one filling in all texts of a row."""

    def __init__(self, slots: Slots, random: Random) -> None:
        self.chosen: dict[str, str] = {}
        self._slots, self._random = slots, random

    def __call__(self, text: str) -> str:
        while _SLOT.search(text):
            text = _SLOT.sub(self._choose, text)
        return text

    def _choose(self, slot: re.Match[str]) -> str:
        if slot[0] not in self.chosen:
            taken = {v for s, v in self.chosen.items() if _name(s) == slot[1]}
            self.chosen[slot[0]] = self._random.choice([v for v in self._slots[slot[1]] if v not in taken])
        return self.chosen[slot[0]]


def _name(slot: str) -> str:
    return slot.strip("{}0123456789")


def typed(text: str, random: Random) -> str:
    """As people type: three in five as it is, else in small letters without a full stop, hastily, or with a slip."""
    way = random.random()
    if way < 0.6:
        return text
    if way < 0.8:
        return text.lower().rstrip(".?!")
    if way < 0.9:
        return _HASTE.sub(lambda word: _HASTY[word[0].lower()], text.replace("'", ""))
    at = random.randrange(1, max(2, len(text) - 2))
    swapped = text[:at] + text[at + 1 : at + 2] + text[at] + text[at + 2 :] if len(text) > 3 else text
    return random.choice((swapped, text[:at] + text[at + 1 :]))


_HASTY: Final = {"you": "u", "your": "ur", "please": "pls", "are": "r", "because": "cuz", "and": "n", "with": "w/"}
_HASTE: Final = re.compile(rf"\b({'|'.join(_HASTY)})\b", re.IGNORECASE)
