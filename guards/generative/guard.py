"""A generative guard: the questions of its family over a transport, probabilities from its labels' logprobs."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final, Literal

from pydantic import Field, model_validator

from guards.calibration import Platt
from guards.generative import granite_guardian, qwen3guard, shieldgemma
from guards.generative.family import HAZARDS, Family, read_answer, unparsable
from guards.generative.few_shot import EXAMPLES, Example, FewShot
from guards.generative.granite_guardian import GraniteGuardian
from guards.generative.llama_guard import LlamaGuard
from guards.generative.qwen3guard import Qwen3Guard
from guards.generative.shieldgemma import ShieldGemma
from guards.generative.wildguard import WildGuard
from guards.language import ONLY_HOME
from guards.transport import CALLS_AT_ONCE, LEAST_CHARS, Endpoint, Json, Transport, sendable
from guards.verdict import Languages, Passage, Scores, Stage

TOP: Final = 20  # candidates a token: vLLM's --max-logprobs by default
SAMPLING: Final[Mapping[str, Json]] = {
    "/completions": {"temperature": 0, "logprobs": TOP, "add_special_tokens": False},  # the template has them
    "/chat/completions": {"temperature": 0, "logprobs": True, "top_logprobs": TOP},
}
STAGES: Final[tuple[Stage, ...]] = ("input", "output")
KNOWN: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "llama_guard_3": HAZARDS,
        "llama_guard_4": HAZARDS,
        "qwen3guard": qwen3guard.DEFAULT,
        "shieldgemma": tuple(shieldgemma.POLICIES),
        "granite_guardian": tuple(granite_guardian.RISKS),
        "wildguard": (),
        "few_shot": (),
    }
)


class GenerativeSpec(Endpoint):
    """A generative guard in a guards file. `url` is that of an OpenAI-compatible API with logprobs, as vLLM's."""

    kind: Literal["generative"] = "generative"
    family: Literal[
        "llama_guard_3", "llama_guard_4", "qwen3guard", "shieldgemma", "granite_guardian", "wildguard", "few_shot"
    ] = Field(description="how the model wants to be asked, and how it answers")
    model: str = Field(min_length=1, description="its name at the endpoint; an answer of another one is an error")
    revision: str = Field(
        "", description="commit or digest of the weights: vLLM does not tell, so verdicts carry what is said here"
    )
    categories: tuple[str, ...] | None = Field(
        None, min_length=1, description="ask for these only; each is a request of its own for Granite and ShieldGemma"
    )
    strict: bool = Field(True, description="Qwen3Guard: `Controversial` counts as unsafe")
    examples: tuple[Example, ...] = Field(EXAMPLES, description="few_shot: texts and whether they are harmful")
    slope: float = Field(1.0, gt=0, description="probability = sigmoid(slope * log-odds of the labels + intercept)")
    intercept: float = Field(0.0, description="see slope")
    most_chars: int = Field(
        6_000, ge=LEAST_CHARS, le=200_000, description="longer texts are judged in overlapping parts"
    )
    prompt_chars: int = Field(2_000, ge=0, le=200_000, description="of the prompt beside a response: its end")

    @model_validator(mode="after")
    def _known_categories(self) -> "GenerativeSpec":
        known = KNOWN[self.family]
        if self.categories is not None and (strange := sorted({*self.categories} - {*known})):
            asked = f"known: {sorted(known)}" if known else "it judges harm as a whole: leave `categories` out"
            raise ValueError(f"categories: {self.family} is not asked for {strange}; {asked}")
        return self


FAMILIES: Final[Mapping[str, Callable[[GenerativeSpec], Family]]] = MappingProxyType(
    {
        "llama_guard_3": lambda s: LlamaGuard("llama_guard_3", s.categories or HAZARDS),
        "llama_guard_4": lambda s: LlamaGuard("llama_guard_4", s.categories or HAZARDS),
        "qwen3guard": lambda s: Qwen3Guard(s.categories or qwen3guard.DEFAULT, s.strict),
        "shieldgemma": lambda s: ShieldGemma(s.categories or tuple(shieldgemma.POLICIES)),
        "granite_guardian": lambda s: GraniteGuardian(s.categories or granite_guardian.DEFAULT),
        "wildguard": lambda _: WildGuard(),
        "few_shot": lambda s: FewShot(s.examples),
    }
)


class GenerativeGuard:
    """`Guard` over an OpenAI-compatible endpoint.

    A probability is that of the unsafe label against the safe one, where the model chose between them (Llama Guard 3
    model card; ShieldGemma, 2024), through the spec's calibration. Scores have no spans.
    """

    calls_at_once = CALLS_AT_ONCE

    def __init__(self, name: str, spec: GenerativeSpec, transport: Transport) -> None:
        self.name, self.spec = name, spec
        self.version = spec.model.rsplit("/", 1)[-1] + (f"@{spec.revision[:12]}" if spec.revision else "")
        self.most_chars: int | None = spec.most_chars
        self.languages: Languages | None = spec.languages or ONLY_HOME
        self._family, self._transport = FAMILIES[spec.family](spec), transport
        self._calibrated = Platt(spec.slope, spec.intercept)
        self.digest = self._digest()

    def covers(self, stage: Stage) -> frozenset[str]:
        return self._family.covers(stage)

    def judge(self, passages: Sequence[Passage]) -> list[Scores]:
        asked = [self._ask(p) for p in passages]
        bodies = [body for questions in asked for body in questions]
        found = self._transport.post(self._family.path, bodies)
        if len(found) != len(bodies):
            raise unparsable(f"{len(found)} answers to {len(bodies)} questions")
        answers = iter([read_answer(body, self.spec.model) for body in found])
        odds = [
            self._family.read(passage.stage, [next(answers) for _ in questions])
            for passage, questions in zip(passages, asked, strict=True)
        ]
        return [Scores({c: float(self._calibrated(o)) for c, o in by_category.items()}) for by_category in odds]

    def _ask(self, passage: Passage) -> list[Json]:
        prompt = passage.prompt[-self.spec.prompt_chars :] if self.spec.prompt_chars else ""
        read = replace(passage, text=sendable(passage.text), prompt=sendable(prompt))
        common = SAMPLING[self._family.path] | {"model": self.spec.model}
        return [common | question for question in self._family.ask(read)]

    def _digest(self) -> str:
        """Over what is asked of which weights, and what is made of the answer."""
        questions = [self._ask(Passage("x")), self._ask(Passage("x", "response", "y"))]
        spec = self.spec.model_dump(mode="json", exclude={*Endpoint.model_fields})
        return hashlib.sha256(json.dumps([spec, questions], sort_keys=True).encode()).hexdigest()
