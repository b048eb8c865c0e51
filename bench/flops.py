"""What computing the guard adds to the model's: 2 x parameters x tokens for each (forward pass, Kaplan et al. 2020)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from safetensors import safe_open

from bench.load import Answer
from guards.classifier import read_manifest
from guards.policy import Policy
from guards.verdict import Passage
from guards.windows import Windows
from service.gate.release import Hold, Pace

TOKEN_CHARS = 4  # text comes in about such pieces


@dataclass(frozen=True, slots=True)
class Flops:
    llm_params: int
    guard_params: int
    llm_tokens: int
    guard_tokens: int

    @property
    def ratio(self) -> float:
        return self.guard_params * self.guard_tokens / (self.llm_params * self.llm_tokens)

    def document(self) -> dict[str, float]:
        counts = {n: getattr(self, n) for n in ("llm_params", "guard_params", "llm_tokens", "guard_tokens")}
        return {**counts, "guard_to_llm": round(self.ratio, 4)}


def flops(model: Path, guard: Path, policy: Policy, prompts: Sequence[str], answers: Sequence[Answer]) -> Flops:
    """Of answers to `prompts[answer.body]`. Guard tokens are counted as if every segment were judged the moment it is
    ready; under load several become one, so this is the most it can be. Padding is not counted.
    """
    manifest, _ = read_manifest(guard)
    tokenizer = (guard / "tokenizer.json").read_text(encoding="utf-8")
    windows = Windows(tokenizer, manifest.max_tokens, manifest.overlap_tokens, manifest.prompt_tokens)
    passages = [p for a in answers for p in judged(prompts[a.body], a.text, policy)]
    return Flops(
        llm_params=_params(model),
        guard_params=(guard / "model.onnx").stat().st_size // 2,  # two bytes a weight, graph and all
        llm_tokens=sum(a.tokens + a.prompt_tokens for a in answers),
        guard_tokens=sum(len(w.ids) for w in windows.cut(passages)),
    )


def judged(prompt: str, answer: str, policy: Policy) -> Iterator[Passage]:
    """What the gate has judged of one exchange: the prompt, then the answer in growing segments."""
    yield Passage(prompt)
    hold = Hold(Pace(policy.lookahead_chars, policy.first_segment_chars, policy.most_segment_chars))
    for at in range(0, len(answer) + TOKEN_CHARS, TOKEN_CHARS):
        hold.push(answer[at : at + TOKEN_CHARS])
        if at + TOKEN_CHARS >= len(answer):
            hold.end()
        if hold.ready:
            yield Passage(hold.text, "response", prompt, since=hold.released)
            hold.clear(len(hold.text))


def _params(model: Path) -> int:
    total = 0
    for file in sorted(model.glob("*.safetensors")):
        with safe_open(file, "np") as tensors:
            total += sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    if not total:
        raise FileNotFoundError(f"{model}: no safetensors to count parameters in")
    return total
