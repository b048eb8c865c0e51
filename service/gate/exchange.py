"""The record of one exchange: asked, judged, released, withheld, why. And what may go wrong with it. Pure data."""

import enum
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from guards.policy import Policy
from guards.verdict import Judgement, Passage, Stage, Verdict

Channel = Literal["content", "reasoning", "tool_arguments"]
Endpoint = Literal["chat", "completions", "responses", "embeddings"]
Json = dict[str, Any]


class GateError(Exception):
    """Why an exchange did not go through. `code` is what the client reads."""

    code = "internal_error"
    retryable = False


class Refused(GateError):
    """The policy refused the input; nothing was sent."""

    code = "content_filter"

    def __init__(self, exchange_id: str, stage: str, categories: Sequence[str], policy: str) -> None:
        super().__init__(f"The request was refused by the content policy ({', '.join(categories)}).")
        self.exchange_id, self.stage, self.categories, self.policy = exchange_id, stage, tuple(categories), policy


class GuardUnavailable(GateError):
    """A guard failed and the policy says `on_error: refuse`."""

    code = "guard_unavailable"
    retryable = True


class EngineUnavailable(GateError):
    """The engine cannot be reached, died, or answered with an error of its own."""

    code = "engine_unavailable"
    retryable = True


class EngineRejected(GateError):
    """The engine found the request itself wrong (HTTP 4xx): prompt too long, unknown model, bad schema."""

    code = "invalid_request_error"

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class LedgerUnavailable(GateError):
    """What was flagged cannot be made durable, so nothing of it may leave."""

    code = "ledger_unavailable"
    retryable = True


class Overloaded(GateError):
    """Too many exchanges at once."""

    code = "overloaded"
    retryable = True

    def __init__(self, retry_after_s: int = 1) -> None:
        super().__init__("Too many requests are in progress. Retry shortly.")
        self.retry_after_s = retry_after_s


class Role(enum.StrEnum):
    CLIENT = "client"
    MODERATOR = "moderator"
    OPERATOR = "operator"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: found from the key alone, never from the request."""

    key_id: str
    tenant: str
    role: Role = Role.CLIENT
    requests_per_minute: int | None = None


@dataclass(slots=True)  # not frozen: one a token, and freezing quadruples its cost
class Delta:
    """A piece of what the engine generates for choice `index`.

    `tool` is the position of the tool call that `text` (its arguments) belongs to; `tool_id` and `tool_name` come
    with its first piece. `logprobs` are the engine's entries for exactly this text. `usage` comes last, alone.
    """

    index: int = 0
    channel: Channel = "content"
    text: str = ""
    tool: int | None = None
    tool_id: str | None = None
    tool_name: str | None = None
    logprobs: Any = None
    finish_reason: str | None = None
    usage: Json | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that may go to the engine: `body` holds allow-listed fields only; `passages` are all its texts.

    `rewrite` puts redacted texts (same order as `passages`) in the place of the originals and returns the new body.
    """

    endpoint: Endpoint
    body: Json
    passages: tuple[Passage, ...]
    rewrite: "Rewrite"
    choices: int = 1
    stream: bool = False
    subject: str | None = None
    id: str = field(default_factory=lambda: "exc_" + uuid.uuid4().hex)

    @property
    def conversation(self) -> bool:
        """Whether the passages are turns of one conversation, or texts that have nothing to do with each other."""
        return self.endpoint not in ("completions", "embeddings")

    def prompt_of(self, index: int) -> str:
        """The text that choice `index` answers: the last one a user sent; of several completions, each its own."""
        prompts = [p.text for p in self.passages if p.kind == "prompt"] or [""]
        return prompts[index * len(prompts) // self.choices] if self.endpoint == "completions" else prompts[-1]


class Rewrite(Protocol):
    def __call__(self, texts: Sequence[str]) -> Json: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """The input was judged and the engine has answered: what follows is sent as HTTP 200."""

    exchange_id: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of choice `index` that may leave now. A tool call leaves as one piece, whole."""

    index: int
    channel: Channel
    text: str
    tool: int | None = None
    tool_id: str | None = None
    tool_name: str | None = None
    logprobs: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """Choice `index` is over. `refusal` is set when the policy ended it."""

    index: int
    finish_reason: str
    refusal: str | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """The engine's token counts; not sent when the gate stopped the engine early."""

    tokens: Json


Release = Opened | Piece | Finished | Usage


@dataclass(slots=True)
class Exchange:
    """One guarded exchange, from `asked` to `closed`."""

    asked: Asked
    caller: Caller
    policy: Policy
    judges: "Judges"  # the same to its end, whatever is swapped meanwhile
    started_at: float = field(default_factory=time.time)
    verdicts: list[Verdict] = field(default_factory=list)
    scores: dict[str, Json] = field(default_factory=dict)  # guard -> version, digest, highest scores by stage
    outcome: str = "interrupted"  # unless the end says otherwise
    first_content_s: float | None = None

    @property
    def id(self) -> str:
        """That of `asked`, so that response headers and logs carry it from the start."""
        return self.asked.id

    def note(self, stage: Stage, judgements: Iterable[Judgement]) -> None:
        """Remembers the highest score of each guard and category, clean or not."""
        for j in judgements:
            known = self.scores.setdefault(
                j.guard, {"version": j.version, "digest": j.digest, "input": {}, "output": {}}
            )
            highest = known[stage]
            for category, score in (j.scores.by_category if j.scores else {}).items():
                highest[category] = max(score, highest.get(category, 0.0))

    @property
    def flagged(self) -> bool:
        return any(v.flagging for v in self.verdicts)


# What the pipeline needs from the outside. Clients implement these; the pipeline never imports a client.


class Engine(Protocol):
    def stream(self, endpoint: Endpoint, body: Json, tenant: str) -> AsyncIterator[Delta]:
        """Generates; closing the iterator stops the engine's request at once.

        Raises:
            EngineRejected, EngineUnavailable
        """
        ...

    async def embed(self, body: Json) -> Json:
        """Vectors in OpenAI's shape. Raises EngineRejected (404 where the model does not embed), EngineUnavailable."""
        ...

    async def models(self) -> list[Json]: ...

    async def ready(self) -> bool: ...


class Judges(Protocol):
    async def judge(self, passages: Sequence[Passage], policy: Policy, tenant: str) -> list[list[Judgement]]:
        """For each passage the judgements of all guards of the policy. A failed guard is a Judgement with `error`.

        What is remembered between calls is remembered for one `tenant`.
        """
        ...

    def of(self, exchange_id: str, key_id: str) -> "Judges":
        """Those that judge one exchange, to its end."""
        ...


class Ledger(Protocol):
    """Events: `asked` (once), `verdict` (each flagging one), `closed` (once)."""

    def append(self, event: Json) -> None:
        """Puts an event in order; it is on disk soon. Never blocks. Raises LedgerUnavailable when the log is full."""
        ...

    async def commit(self, event: Json) -> None:
        """Returns when the event and all before it are durable. Raises LedgerUnavailable."""
        ...
