"""Guards that other services run, over HTTP: OpenAI's moderation shape, and the generic one that `guards serve` speaks.

What comes back is checked to the last number: what is missing, out of range or of another model is an error, never a
clean verdict. docs/guards.md has both shapes.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from guards.guard import GuardError
from guards.language import ONLY_HOME
from guards.taxonomy import OPENAI, of_openai
from guards.transport import CALLS_AT_ONCE, LEAST_CHARS, Endpoint, Json, Transport, sendable
from guards.verdict import Kind, Languages, Passage, Scores, Span, Stage

MOST_PASSAGES: Final = 32  # in one request
PROMPT_CHARS: Final = 4_000  # of the prompt beside a response: its end
PROBE: Final = "hello"  # asked at the start, to learn who answers and in which categories

CategoryName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_:]{1,47}$")]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RemoteSpec(Endpoint):
    """A guard behind HTTP in a guards file. `url` is the base address: `/judge` or `/moderations` is added to it."""

    kind: Literal["remote"] = "remote"
    shape: Literal["sluicegate", "openai-moderation"] = Field("sluicegate", description="what the far end speaks")
    model: str | None = Field(None, min_length=1, description="openai-moderation: which model")
    digest: str | None = Field(
        None, pattern=r"^[0-9a-f]{8,64}$", description="sluicegate: what its digest begins with; else it is not used"
    )
    most_chars: int = Field(
        8_000,
        ge=LEAST_CHARS,
        le=200_000,
        description="longer texts are judged in overlapping parts; the far end may say less",
    )

    @model_validator(mode="after")
    def _of_its_shape(self) -> "RemoteSpec":
        if (self.shape == "openai-moderation") != (self.model is not None):
            raise ValueError("`shape: openai-moderation` and a `model` need each other")
        if self.digest and self.shape != "sluicegate":
            raise ValueError("digest: only the sluicegate shape tells one")
        return self


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer far end may say more


class AskedPassage(BaseModel):
    """One text of a request to `/judge`; the fields of `guards.verdict.Passage`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    text: str
    kind: Kind = "prompt"
    prompt: str = ""
    since: int = Field(0, ge=0)
    growing: bool = False


class AskedJudge(BaseModel):
    """The body of a request to `/judge`. No passages at all: who is there?"""

    model_config = ConfigDict(frozen=True, extra="forbid")
    passages: tuple[AskedPassage, ...] = Field(max_length=MOST_PASSAGES)


class AnsweredSpan(_Wire):
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    category: CategoryName


class AnsweredScores(_Wire):
    scores: dict[CategoryName, Probability]
    spans: tuple[AnsweredSpan, ...] = ()


class AnsweredJudge(_Wire):
    """The answer of `/judge`: who judged, what it can judge, and one result a passage."""

    name: str = Field(min_length=1, max_length=64)
    version: str = Field(min_length=1, max_length=64)
    digest: Digest
    covers: dict[Stage, frozenset[CategoryName]]
    most_chars: int | None = Field(ge=LEAST_CHARS)
    languages: Mapping[str, Mapping[str, Probability]] | None = ONLY_HOME  # null: it judges characters, not language
    results: tuple[AnsweredScores, ...]


class SluicegateRemote:
    """`Guard` over the generic shape. Version and digest are those of the guard at the far end.

    It asks who is there once, here. Whoever answers later under another digest is refused: a verdict never carries the
    digest of weights that did not judge, and one exchange never mixes two.

    Raises:
        GuardError: nobody answers, or somebody else than `spec.digest` says.
    """

    calls_at_once = CALLS_AT_ONCE

    def __init__(self, name: str, spec: RemoteSpec, transport: Transport) -> None:
        self.name, self._transport = name, transport
        first = self._asked([AskedJudge(passages=())])[0]
        if spec.digest and not first.digest.startswith(spec.digest):
            raise GuardError(f"{first.name} runs there with digest {first.digest[:12]}, not {spec.digest}")
        self.version, self.digest = first.version, first.digest
        self._covers = {stage: first.covers.get(stage, frozenset()) for stage in ("input", "output")}
        self.most_chars: int | None = min(spec.most_chars, first.most_chars or spec.most_chars)
        self.languages: Languages | None = first.languages if spec.languages is None else spec.languages

    def covers(self, stage: Stage) -> frozenset[str]:
        return self._covers[stage]

    def judge(self, passages: Sequence[Passage]) -> list[Scores]:
        groups = [passages[i : i + MOST_PASSAGES] for i in range(0, len(passages), MOST_PASSAGES)]
        answers = self._asked([AskedJudge(passages=tuple(map(_sent, group))) for group in groups])
        found: list[Scores] = []
        for group, answer in zip(groups, answers, strict=True):
            if answer.digest != self.digest:
                raise GuardError(
                    f"changed: digest {answer.digest[:12]} answers, at the start it was {self.digest[:12]}; restart"
                )
            if len(answer.results) != len(group):
                raise GuardError(f"unparsable: {len(answer.results)} results for {len(group)} passages")
            found += [self._scores(p, r) for p, r in zip(group, answer.results, strict=True)]
        return found

    def _asked(self, asked: Sequence[AskedJudge]) -> list[AnsweredJudge]:
        bodies = self._transport.post("/judge", [a.model_dump() for a in asked])
        return [_valid(AnsweredJudge, body) for body in _as_many(bodies, len(asked))]

    def _scores(self, passage: Passage, result: AnsweredScores) -> Scores:
        covered = self.covers(passage.stage)
        if missing := covered - result.scores.keys():
            raise GuardError(f"unparsable: no score for {', '.join(sorted(missing))}")
        spans = tuple(Span(s.start, s.end, s.category) for s in result.spans)
        if any(not s.start < s.end <= len(passage.text) or s.category not in covered for s in spans):
            raise GuardError("unparsable: a span that is not in the text, or of a category that was not asked for")
        return Scores({category: result.scores[category] for category in covered}, spans)


class _Beside(_Wire):
    unjudged: frozenset[str] = frozenset()


class _Moderated(_Wire):
    """A result. Of `sluicegate`, which another gateway adds, the categories whose 0 means nothing are read."""

    category_scores: dict[str, Any]
    sluicegate: _Beside = _Beside()


class _Moderation(_Wire):
    model: str
    results: tuple[_Moderated, ...]


class OpenAIModeration:
    """`Guard` over `POST /moderations`. It judges texts alone: a response is not read with its prompt.

    OpenAI tells a model's name, no digest: the digest is that of the name that answers and the categories it scores.
    Ours are the highest of those of OpenAI that mean them.

    Raises:
        GuardError: nobody answers, or in another shape.
    """

    calls_at_once = CALLS_AT_ONCE

    def __init__(self, name: str, spec: RemoteSpec, transport: Transport) -> None:
        self.name, self._transport, self._model = name, transport, spec.model
        self.most_chars: int | None = spec.most_chars
        self.languages: Languages | None = spec.languages or ONLY_HOME
        first = self._asked([PROBE])[0]
        if len(first.results) != 1:
            raise GuardError(f"unparsable: {len(first.results)} results for one text")
        self.version = first.model
        judged = first.results[0].category_scores.keys() - first.results[0].sluicegate.unjudged
        self._theirs = {theirs: of_openai(theirs) for theirs in OPENAI if theirs in judged}
        if not self._theirs:
            raise GuardError("it scores no category that OpenAI documents")
        self.digest = hashlib.sha256("\0".join((first.model, *sorted(self._theirs))).encode()).hexdigest()

    def covers(self, stage: Stage) -> frozenset[str]:
        return frozenset(self._theirs.values())

    def judge(self, passages: Sequence[Passage]) -> list[Scores]:
        texts = [sendable(p.text) for p in passages]
        groups = [texts[i : i + MOST_PASSAGES] for i in range(0, len(texts), MOST_PASSAGES)]
        found: list[Scores] = []
        for group, answer in zip(groups, self._asked(*groups), strict=True):
            if answer.model != self.version:
                raise GuardError(f"changed: another model answers than at the start ({self.version}); restart")
            if len(answer.results) != len(group):
                raise GuardError(f"unparsable: {len(answer.results)} results for {len(group)} texts")
            found += [self._scores(result) for result in answer.results]
        return found

    def _asked(self, *groups: Sequence[str]) -> list[_Moderation]:
        bodies = self._transport.post("/moderations", [{"model": self._model, "input": list(g)} for g in groups])
        return [_valid(_Moderation, body) for body in _as_many(bodies, len(groups))]

    def _scores(self, result: _Moderated) -> Scores:
        worst: dict[str, float] = {}
        for theirs, ours in self._theirs.items():
            score = None if theirs in result.sluicegate.unjudged else result.category_scores.get(theirs)
            if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
                raise GuardError(f"unparsable: no probability for {theirs}")
            worst[ours] = max(float(score), worst.get(ours, 0.0))
        return Scores(worst)


REMOTES: Final[Mapping[str, Callable[[str, RemoteSpec, Transport], "SluicegateRemote | OpenAIModeration"]]] = (
    MappingProxyType({"sluicegate": SluicegateRemote, "openai-moderation": OpenAIModeration})
)


def remote(name: str, spec: RemoteSpec, transport: Transport) -> SluicegateRemote | OpenAIModeration:
    """The guard of a spec; it has asked the far end who it is. Raises GuardError."""
    try:
        return REMOTES[spec.shape](name, spec, transport)
    except GuardError as error:
        raise type(error)(f"{spec.url}: {error}") from error


M = TypeVar("M", bound=BaseModel)


def _valid(model: type[M], body: Json) -> M:
    """`body` as `model`. The fault is told by its place: its value may be text of a user."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_input=False)[0]["loc"][:2]))
        raise GuardError(f"unparsable: {where} is not as documented") from error


def _as_many(bodies: list[Json], asked: int) -> list[Json]:
    if len(bodies) != asked:
        raise GuardError(f"unparsable: {len(bodies)} answers to {asked} requests")
    return bodies


def _sent(passage: Passage) -> AskedPassage:
    prompt = passage.prompt[-PROMPT_CHARS:]
    return AskedPassage(
        text=sendable(passage.text),
        kind=passage.kind,
        prompt=sendable(prompt),
        since=passage.since,
        growing=passage.growing,
    )
