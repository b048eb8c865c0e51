"""One exchange through the real gate, with a script in the engine's place and nothing stored."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from guards.policy import SEVERITY, Policy
from guards.verdict import Judgement, Passage, Span, Stage, Verdict
from service.gate.exchange import (
    Asked,
    Caller,
    Channel,
    Delta,
    Endpoint,
    EngineRejected,
    GuardUnavailable,
    Json,
    Judges,
    Piece,
    Refused,
)
from service.gate.pipeline import Gate, answer
from service.telemetry.metrics import Metrics

TOKEN_CHARS = 4  # of a delta, about a token of English


class Found(Protocol):
    """What a verdict says, be it a stored one or one just made."""

    @property
    def stage(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def action(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def error(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Effect:
    """What a policy does to one stage of an exchange: the most severe enforced action, and that of each category."""

    action: str = "allow"
    failed: bool = False  # refused because a guard could not judge, not because of what it found
    found: Mapping[str, str] = field(default_factory=dict)

    @property
    def blocked(self) -> bool:
        return self.action in ("refuse", "replace")


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What became of one exchange. `released` is the text of choice 0 that would have left.

    `stopped_at`: how many characters of the answer had been judged when it was refused or replaced.
    """

    effects: Mapping[Stage, Effect]
    verdicts: tuple[Verdict, ...]
    released: str
    stopped_at: int | None = None

    @property
    def effect(self) -> Effect:
        """Of the whole exchange: the more severe of both stages."""
        return max(self.effects.values(), key=lambda e: SEVERITY[e.action])


def effect(verdicts: Iterable[Found], stage: str) -> Effect:
    """Of the verdicts of one stage."""
    enforced = [v for v in verdicts if v.stage == stage and v.mode == "enforce"]
    found: dict[str, str] = {}
    for v in enforced:
        if v.error is None:
            found[v.category] = max(v.action, found.get(v.category, "allow"), key=_severity)
    action = max((v.action for v in enforced), key=_severity, default="allow")
    failed = action == "refuse" and "refuse" not in found.values()
    return Effect(action, failed, found)


def _severity(action: str) -> int:
    return SEVERITY[action]


async def rehearse(judges: Judges, policy: Policy, asked: Asked, answers: Mapping[str, str], tenant: str) -> Rehearsed:
    """Runs the gate on `asked`; the engine says `answers` (`<choice>/<channel>` -> text, as the ledger keeps them).

    The script never runs ahead of the judges, so each segment is as short as the policy lets it be: as often as a slow
    engine's answer is judged, so often is this one.
    """
    waiting, ledger = _Waiting(judges), _Events()
    gate = Gate(_Script(script(answers, asked.choices), waiting), waiting, ledger, lambda _: policy, Metrics())
    released = ""
    try:
        async for release in answer(gate, asked, Caller("key_rehearsal", tenant)):
            if isinstance(release, Piece) and release.index == 0 and release.channel == "content":
                released += release.text
    except (Refused, GuardUnavailable):
        pass  # the verdicts say why
    verdicts = tuple(ledger.verdicts)
    effects: dict[Stage, Effect] = {"input": effect(verdicts, "input"), "output": effect(verdicts, "output")}
    return Rehearsed(effects, verdicts, released, ledger.stopped_at)


class _Waiting:
    """The judges, and whether they are at work."""

    def __init__(self, judges: Judges) -> None:
        self._judges = judges
        self.idle = asyncio.Event()
        self.idle.set()

    async def judge(self, passages: Sequence[Passage], policy: Policy, tenant: str) -> list[list[Judgement]]:
        self.idle.clear()
        try:
            return await self._judges.judge(passages, policy, tenant)
        finally:
            self.idle.set()

    def of(self, exchange_id: str, key_id: str) -> Judges:
        return self


class _Script:
    """An engine that says what it is told."""

    def __init__(self, deltas: Sequence[Delta], judges: _Waiting) -> None:
        self._deltas, self._judges = deltas, judges

    async def stream(self, endpoint: Endpoint, body: Json, tenant: str) -> AsyncIterator[Delta]:
        for delta in self._deltas:
            yield delta
            await asyncio.sleep(0)  # the gate looks at what it has got
            await asyncio.sleep(0)
            await self._judges.idle.wait()

    async def embed(self, body: Json) -> Json:
        raise EngineRejected("a script does not embed", 404)

    async def models(self) -> list[Json]:
        return []

    async def ready(self) -> bool:
        return True


def script(answers: Mapping[str, str], choices: int) -> list[Delta]:
    """Deltas of a few characters, and a finish for every choice."""
    deltas: list[Delta] = []
    for place, text in answers.items():
        choice, channel, *tool = place.split("/")
        deltas += _channel(int(choice), channel, text, int(tool[0]) if tool else None)
    return deltas + [Delta(index, finish_reason="stop") for index in range(choices)]


def _channel(index: int, channel: Any, text: str, tool: int | None) -> list[Delta]:
    name: Channel = channel
    deltas = []
    if tool is not None:
        called, _, text = text.partition("\n")
        deltas.append(Delta(index, name, "", tool, f"call_{tool}", called))
    pieces = (text[i : i + TOKEN_CHARS] for i in range(0, len(text), TOKEN_CHARS))
    return deltas + [Delta(index, name, piece, tool) for piece in pieces]


class _Events:
    """A ledger that keeps the verdicts of one exchange and stores nothing."""

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []
        self.stopped_at: int | None = None

    def append(self, event: Json) -> None:
        if event.get("blocked") and event["stage"] == "output" and self.stopped_at is None:
            self.stopped_at = len(event["texts"]["judged"])
        for plain in event.get("verdicts", ()):
            spans = tuple(Span(*span) for span in plain["spans"])
            self.verdicts.append(Verdict(**plain | {"spans": spans}))

    async def commit(self, event: Json) -> None:
        self.append(event)
