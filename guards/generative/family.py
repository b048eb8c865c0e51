"""What families of generative guards have in common: asking, finding the label in an answer, scores from it. Pure."""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from guards.guard import GuardError
from guards.taxonomy import CATEGORIES
from guards.transport import Json
from guards.verdict import Passage, Stage

UMBRELLA: Final[Mapping[Stage, str]] = {"input": "harm", "output": "response_harm"}
HAZARDS: Final = tuple(c.name for c in CATEGORIES.values() if c.hazard)

LEAST: Final = 1e-9  # probability that rounding may hide
ROUNDING: Final = 1e-6  # of a log-probability of 0

# What a user could type to end the template early: special tokens of all families, and the marks of their sections.
_MARK: Final = re.compile(
    r"<(?=[|｜])"
    r"|<(?=/?(?:s|bos|eos|pad|unk|mask|unused\d+|(?:start|end)_of_\w+|(?:begin|end)\s[\w ]{1,60}|think|score)>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_\w+|BOS|EOS)\])",
    re.IGNORECASE,
)
_TURN: Final = re.compile(
    r"(?:^|(?<=[\n\r\v\f\x85\u2028\u2029]))(?=[ \t]*(?:(?:"
    r"user|agent|assistant|human|system|message|answers?|human user|ai assistant|human question|chatbot response"
    r"|user message|assistant message)[ \t]*:|-{3}|={3}))",
    re.IGNORECASE,
)


class Family(Protocol):
    """How one family of models wants to be asked, and how it answers."""

    @property
    def path(self) -> str:
        """Of the OpenAI-compatible API: `/completions` or `/chat/completions`."""
        ...

    def covers(self, stage: Stage) -> frozenset[str]: ...

    def ask(self, passage: Passage) -> Sequence[Json]:
        """The questions to one passage, as parts of request bodies. Its texts cannot break out any more."""
        ...

    def read(self, stage: Stage, answers: "Sequence[Answer]") -> dict[str, float]:
        """Log-odds of each covered category, from the answers to the questions of one passage.

        Raises:
            GuardError: an answer is not of the form that the model card documents.
        """
        ...


@dataclass(frozen=True, slots=True)
class Token:
    """A generated token and the log-probabilities of the most likely ones in its place."""

    text: str
    top: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    tokens: tuple[Token, ...]

    def odds(self, at: int, yes: Collection[str], no: Collection[str]) -> float:
        """Log-odds of the labels `yes` against `no` where the label at character `at` of the text was chosen.

        A label that is not among the most likely tokens counts with the most that is left for it.
        """
        token = self._token_at(at)
        if _side(token.text, yes, no) is None:
            raise unparsable("no label where one was read")
        top = token.top
        sides = {side: [p for likely, p in top.items() if _side(likely, yes, no) is side] for side in (True, False)}
        if not any(sides.values()):
            raise unparsable("no label among the most likely tokens")
        left = math.log(max(1.0 - sum(map(math.exp, top.values())), LEAST))
        rest = min(left, *top.values())
        return _logsum(sides[True] or [rest]) - _logsum(sides[False] or [rest])

    def _token_at(self, at: int) -> Token:
        # spaces are not counted: some tokenizers leave them out of a single token's text
        before = len("".join(self.text[:at].split()))
        for token in self.tokens:
            size = len("".join(token.text.split()))
            if size > before:
                if not token.top:
                    break
                return token
            before -= size
        raise unparsable("no log-probabilities for the label")


def unparsable(why: str) -> GuardError:
    """An answer that is not of the documented form. `why` holds nothing of it."""
    return GuardError(f"unparsable: {why}")


def neutral(text: str) -> str:
    """`text` that no longer holds a special token, a section mark, or a line that looks like another speaker's turn.

    Marks get a space behind their first character, lines are quoted with `> `: both still read as what they were.
    """
    return _TURN.sub("> ", _MARK.sub(r"\g<0> ", text))


def spread(stage: Stage, covered: Iterable[str], odds: float, named: Collection[str]) -> dict[str, float]:
    """Log-odds for each covered category of a model that says safe or unsafe, and names categories when unsafe.

    Named ones and the umbrella over them have the verdict's odds, others none at all. Where none is named the text
    was found safe: the umbrella alone knows how nearly.
    """
    umbrella = UMBRELLA[stage]
    under = not named or any(CATEGORIES[n].hazard in CATEGORIES[umbrella].spans for n in named)
    held = {*named, umbrella} if under else {*named}
    return {category: odds if category in held else -math.inf for category in covered}


def read_answer(body: Json, model: str) -> Answer:
    """An answer of `/completions` or `/chat/completions` with log-probabilities. Raises GuardError."""
    try:
        if body["model"] != model:
            raise GuardError("another model answered than was asked")
        (choice,) = body["choices"]
        logprobs = choice["logprobs"]
        if "content" in logprobs:
            tokens = [
                Token(t["token"], {c["token"]: c["logprob"] for c in t["top_logprobs"]}) for t in logprobs["content"]
            ]
            return _checked(choice["message"]["content"], tokens)
        pairs = zip(logprobs["tokens"], logprobs["top_logprobs"], strict=True)
        return _checked(choice["text"], [Token(token, top or {}) for token, top in pairs])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise unparsable("no completion with log-probabilities") from error


def _checked(text: Any, tokens: Sequence[Token]) -> Answer:
    if not all(isinstance(t, str) for t in (text, *(t.text for t in tokens), *(c for t in tokens for c in t.top))):
        raise unparsable("no completion with log-probabilities")
    if not all(_is_logprob(p) for t in tokens for p in t.top.values()):
        raise unparsable("a log-probability that is none")
    return Answer(text, tuple(tokens))


def _is_logprob(value: Any) -> bool:
    """A number that is no NaN, no infinity (either would make a score that no threshold catches) and not above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value <= ROUNDING


def _side(token: str, yes: Collection[str], no: Collection[str]) -> bool | None:
    """Whether a token begins a label of `yes` (True) or of `no` (False), and of no other."""
    begun = token.strip().lower()
    sides = {label in yes for label in (*yes, *no) if begun and label.lower().startswith(begun)}
    return sides.pop() if len(sides) == 1 else None


def _logsum(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + math.log(sum(math.exp(x - top) for x in logs))
