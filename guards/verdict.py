"""What a guard is asked and what it answers. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["input", "output"]
Languages = Mapping[str, Mapping[str, float]]  # ISO 639 code -> category -> recall of a guard
Kind = Literal["prompt", "response", "reasoning", "tool_arguments", "tool_result", "system"]


@dataclass(frozen=True, slots=True)
class Passage:
    """One text to judge.

    `prompt` is what a response answers: read as context, not judged. Characters before `since` were in a passage
    this guard already judged in the same stream, so a window that ends before it need not be judged again.
    `growing`: more of the text may follow, and all of it will be judged then.
    """

    text: str
    kind: Kind = "prompt"
    prompt: str = ""
    since: int = 0
    growing: bool = False

    @property
    def stage(self) -> Stage:
        return "output" if self.kind in ("response", "reasoning", "tool_arguments") else "input"


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `[start, end)` of the passage that belong to `category`."""

    start: int
    end: int
    category: str


@dataclass(frozen=True, slots=True)
class Scores:
    """A guard's answer to one passage: calibrated probability per category, spans where the guard can tell."""

    by_category: Mapping[str, float]
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one guard said of one passage, or why it could not. `error` and `scores` exclude each other.

    `languages`: how much the guard finds in which language; None where it judges characters, whatever the language.
    """

    guard: str
    version: str
    digest: str
    categories: frozenset[str]
    scores: Scores | None = None
    error: str | None = None
    elapsed_s: float = 0.0
    languages: Languages | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement seen through a policy: one category of one guard, with everything needed to explain it later."""

    guard: str
    version: str
    digest: str
    stage: Stage
    category: str
    score: float | None  # None: the guard failed, `error` says how
    threshold: float
    action: str
    mode: str
    policy: str
    policy_digest: str
    error: str | None = None
    spans: tuple[Span, ...] = field(default=())

    @property
    def kind(self) -> tuple[str, ...]:
        """Verdicts of one kind on one growing text say the same again."""
        return self.guard, self.category, self.action, self.error or ""

    @property
    def flagging(self) -> bool:
        """Whether a person should look: a guard that failed and refused found nothing and let nothing through."""
        return self.error is None or self.action != "refuse"
