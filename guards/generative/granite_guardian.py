"""Granite Guardian 3.0 to 3.3: a chat, one question a risk; the risk's wording comes with the weights' chat template.

Source: the model cards and recipes, github.com/ibm-granite/granite-guardian. 3.0 to 3.2 answer Yes or No (3.2 with a
confidence), 3.3 without thinking `<score> yes </score>`; 3.3 calls `criteria_id` what was `risk_name`.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from guards.generative.family import UMBRELLA, Answer, neutral, unparsable
from guards.transport import Json
from guards.verdict import Passage, Stage

RISKS: Final = {
    "harm": "harm",
    "jailbreak": "jailbreak",
    "hate": "social_bias",
    "violence": "violence",
    "profanity": "profanity",
    "sexual": "sexual_content",
    "nonviolent_crimes": "unethical_behavior",
}
DEFAULT: Final = ("harm", "jailbreak")
ANSWER: Final = re.compile(
    r"\s*(?:(?P<plain>Yes|No)\s*(?:<confidence>\s*(?:High|Low)\s*</confidence>\s*)?"
    r"|(?:<think>\s*</think>\s*)?<score>\s*(?P<score>yes|no)\s*</score>\s*)"
)
ANSWER_TOKENS: Final = 24


@dataclass(frozen=True, slots=True)
class GraniteGuardian:
    """As many questions a passage as categories; jailbreak is asked of prompts only."""

    categories: Collection[str] = DEFAULT
    path: str = "/chat/completions"

    def covers(self, stage: Stage) -> frozenset[str]:
        return frozenset(UMBRELLA[stage] if c == "harm" else c for c in self._asked(stage))

    def ask(self, passage: Passage) -> list[Json]:
        text = neutral(passage.text)
        turns = (
            [("user", text)] if passage.stage == "input" else [("user", neutral(passage.prompt)), ("assistant", text)]
        )
        messages = [{"role": role, "content": content} for role, content in turns]
        return [
            {"messages": messages, "max_tokens": ANSWER_TOKENS, "chat_template_kwargs": _config(RISKS[category])}
            for category in self._asked(passage.stage)
        ]

    def read(self, stage: Stage, answers: Sequence[Answer]) -> dict[str, float]:
        named = (UMBRELLA[stage] if c == "harm" else c for c in self._asked(stage))
        return {category: _odds(answer) for category, answer in zip(named, answers, strict=True)}

    def _asked(self, stage: Stage) -> list[str]:
        return [c for c in self.categories if stage == "input" or c != "jailbreak"]


def _config(risk: str) -> Json:
    return {"guardian_config": {"risk_name": risk, "criteria_id": risk}, "think": False}


def _odds(answer: Answer) -> float:
    if not (found := ANSWER.fullmatch(answer.text)):
        raise unparsable("neither Yes nor No")
    return answer.odds(found.start("plain" if found["plain"] else "score"), {"yes"}, {"no"})
