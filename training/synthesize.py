"""Rows made by machine from templates, marked `source: machine`: chat, hard benign prompts, refusals."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import yaml

from training.rows import Row

TEMPLATES: Final = Path(__file__).with_name("recipes") / "machine.yaml"
_SLOT = re.compile(r"\{(\w+)\}")


def synthesize(count: int, seed: int, path: Path = TEMPLATES) -> list[Row]:
    """Up to `count` different rows of each block in `path`. The template is the row's group."""
    recipe, random = yaml.safe_load(path.read_text(encoding="utf-8")), Random(seed)
    return [row for block in recipe["blocks"] for row in _block(block, recipe["slots"], count, random)]


def _block(block: Mapping[str, Any], slots: Mapping[str, Sequence[str]], count: int, random: Random) -> list[Row]:
    found: dict[tuple[str, str], Row] = {}
    for nth in range(2 * count):  # some fillings come twice
        template = block["templates"][nth % len(block["templates"])]
        asked = random.choice(block.get("prompts", [""]))
        chosen = {slot: random.choice(slots[slot]) for slot in _SLOT.findall(template + asked)}
        text, prompt = _fill(template, chosen), _fill(asked, chosen)
        row = Row(
            text,
            block["labels"],
            source="machine",
            license="Apache-2.0",
            prompt=prompt,
            is_response=bool(block.get("response")),
            group=template,
            weight=float(block.get("weight", 1.0)),
        )
        found.setdefault((text, prompt), row)
    return list(found.values())[:count]


def _fill(template: str, chosen: Mapping[str, str]) -> str:
    return _SLOT.sub(lambda slot: chosen[slot[1]], template)
