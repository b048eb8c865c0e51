"""Qwen3Guard-Gen: a chat whose template, in the weights' folder, asks for safety, categories and refusal.

Source: the model card, github.com/QwenLM/Qwen3Guard.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from guards.generative.family import UMBRELLA, Answer, neutral, spread, unparsable
from guards.transport import Json
from guards.verdict import Passage, Stage

NAMES: Final = {
    "Violent": ("violent_crimes",),
    "Non-violent Illegal Acts": ("nonviolent_crimes",),
    "Sexual Content or Sexual Acts": ("sexual",),
    "PII": ("privacy",),
    "Suicide & Self-Harm": ("self_harm",),
    "Unethical Acts": ("hate", "toxicity"),  # bias, discrimination, insults, threats
    "Politically Sensitive Topics": ("elections",),
    "Copyright Violation": ("intellectual_property",),
    "Jailbreak": ("jailbreak",),
}
DEFAULT: Final = tuple(category for names in NAMES.values() for category in names)
ANSWER: Final = re.compile(
    r"\s*Safety: (?P<label>Safe|Unsafe|Controversial)\s*"
    r"\nCategories: (?P<names>[^\n]+?)\s*(?:\nRefusal: (?:Yes|No)\s*)?"
)
ANSWER_TOKENS: Final = 64


@dataclass(frozen=True, slots=True)
class Qwen3Guard:
    """`strict` counts the label Controversial as unsafe; else it counts as safe."""

    categories: Collection[str] = DEFAULT
    strict: bool = True
    path: str = "/chat/completions"

    def covers(self, stage: Stage) -> frozenset[str]:
        # the template offers Jailbreak for prompts only
        known = {*self.categories} if stage == "input" else {*self.categories} - {"jailbreak"}
        return frozenset({*known, UMBRELLA[stage]})

    def ask(self, passage: Passage) -> list[Json]:
        text = neutral(passage.text)
        turns = (
            [("user", text)] if passage.stage == "input" else [("user", neutral(passage.prompt)), ("assistant", text)]
        )
        return [{"messages": [{"role": r, "content": c} for r, c in turns], "max_tokens": ANSWER_TOKENS}]

    def read(self, stage: Stage, answers: Sequence[Answer]) -> dict[str, float]:
        (answer,) = answers
        if not (found := ANSWER.fullmatch(answer.text)):
            raise unparsable("no line of safety followed by one of categories")
        yes, no = ({"unsafe", "controversial"}, {"safe"}) if self.strict else ({"unsafe"}, {"safe", "controversial"})
        named = self._named(found["names"]) if found["label"].lower() in yes else set()
        odds = answer.odds(found.start("label"), yes, no)
        return {
            c: o
            for c, o in spread(stage, {*self.covers(stage), *named}, odds, named).items()
            if c in self.covers(stage)
        }

    def _named(self, names: str) -> set[str]:
        given = [name.strip() for name in names.split(",")]
        if not set(given) <= NAMES.keys():
            raise unparsable("unsafe, in a category that is not of the model card")
        return {category for name in given for category in NAMES[name]}
