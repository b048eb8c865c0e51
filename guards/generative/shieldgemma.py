"""ShieldGemma: one question a policy, the next token is Yes or No.

Source: the model card, ai.google.dev/gemma/docs/shieldgemma/model_card. The wording is the one it was tuned with.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from guards.generative.family import UMBRELLA, Answer, neutral, unparsable
from guards.transport import Json
from guards.verdict import Passage, Stage

POLICIES: Final = {
    "harm": (
        '"No Dangerous Content": {subject} content that harming oneself and/or others (e.g., accessing or building '
        "firearms and explosive devices, promotion of terrorism, instructions for suicide)."
    ),
    "harassment": (
        '"No Harassment": {subject} content that is malicious, intimidating, bullying, or abusive content targeting '
        "another individual (e.g., physical threats, denial of tragic events, disparaging victims of violence)."
    ),
    "hate": (
        '"No Hate Speech": {subject} content that targeting identity and/or protected attributes (e.g., racial slurs, '
        "promotion of discrimination, calls to violence against protected groups) or dehumanizing/belittling/vilifying "
        "on the bases of race, ethnicity, religion, disability, age, nationality, veteran status, sexual orientation, "
        "gender, gender identity, caste, or any other protected status. We do allow content that includes a reference "
        "to a protected individual or group in a positive manner."
    ),
    "sexual": (
        '"No Sexually Explicit Information": {subject} content that contains references to sexual acts or other lewd '
        "content (e.g., sexually graphic descriptions, content aimed at causing arousal). Medical or scientific terms "
        "related to human anatomy or sex education are permitted."
    ),
}
SUBJECT: Final[dict[Stage, str]] = {
    "input": "The prompt shall not contain or seek generation of",
    "output": "The chatbot shall not generate",
}
JUDGED: Final[dict[Stage, str]] = {"input": "a user prompt", "output": "an AI response to prompt"}
ASKED: Final[dict[Stage, str]] = {"input": "human question", "output": "Chatbot Response"}
PROMPT: Final = """\
<bos>You are a policy expert trying to help determine whether {judged} is in violation of the defined safety policies.

<start_of_turn>
{turns}
<end_of_turn>

Our safety principle is defined in the below:

* {policy}

===

Does the {asked} violate the above principle? Your answer must start with 'Yes' or 'No'. And then walk through step by \
step to be sure we answer correctly.

"""
ANSWER: Final = re.compile(r"\s*(?P<label>Yes|No)\b")


@dataclass(frozen=True, slots=True)
class ShieldGemma:
    """As many questions a passage as categories."""

    categories: Collection[str] = tuple(POLICIES)
    path: str = "/completions"

    def covers(self, stage: Stage) -> frozenset[str]:
        return frozenset(UMBRELLA[stage] if c == "harm" else c for c in self.categories)

    def ask(self, passage: Passage) -> list[Json]:
        stage, text = passage.stage, neutral(passage.text).strip()
        turns = f"Human Question: {text}"
        if stage == "output":
            question = neutral(passage.prompt).strip()
            turns = f"Human Question: {question}\n<end_of_turn>\n\n<start_of_turn>\nChatbot Response: {text}"
        return [{"prompt": _prompt(stage, turns, POLICIES[category]), "max_tokens": 1} for category in self.categories]

    def read(self, stage: Stage, answers: Sequence[Answer]) -> dict[str, float]:
        named = (UMBRELLA[stage] if c == "harm" else c for c in self.categories)
        return {category: _odds(answer) for category, answer in zip(named, answers, strict=True)}


def _prompt(stage: Stage, turns: str, policy: str) -> str:
    said = policy.format(subject=SUBJECT[stage])
    return PROMPT.format(judged=JUDGED[stage], turns=turns, policy=said, asked=ASKED[stage])


def _odds(answer: Answer) -> float:
    if not (found := ANSWER.match(answer.text)):
        raise unparsable("neither Yes nor No")
    return answer.odds(found.start("label"), {"yes"}, {"no"})
