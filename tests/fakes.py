"""Hand-written stand-ins for the outside world. None stands in for the thing a test is about."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from guards.guard import GuardError
from guards.verdict import Passage, Scores, Span
from service.gate.exchange import Caller, Delta, EngineUnavailable, LedgerUnavailable


class ScriptedEngine:
    """Answers every request with the same deltas, one event-loop turn apart."""

    def __init__(self, deltas: Iterable[Delta] | None = None, pause_s: float = 0.0) -> None:
        self.deltas = list(deltas) if deltas is not None else text_deltas("Hello, how can I help you today?")
        self.pause_s = pause_s
        self.bodies: list[dict[str, Any]] = []
        self.tenants: list[str] = []
        self.open = 0
        self.error_after: int | None = None
        self.rejects: Exception | None = None
        self.up = True

    async def stream(self, endpoint: str, body: dict[str, Any], tenant: str) -> AsyncIterator[Delta]:
        self.bodies.append(body)
        self.tenants.append(tenant)
        self.open += 1
        try:
            if self.rejects:
                raise self.rejects
            for number, delta in enumerate(self.deltas):
                if number == self.error_after:
                    raise EngineUnavailable("The engine went away.")
                await asyncio.sleep(self.pause_s)
                yield delta
        finally:
            self.open -= 1

    async def embed(self, body: dict[str, Any]) -> dict[str, Any]:
        self.bodies.append(body)
        if self.rejects:
            raise self.rejects
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        vectors = [{"object": "embedding", "index": i, "embedding": [float(len(t)), 0.5]} for i, t in enumerate(texts)]
        usage = {"prompt_tokens": 3, "total_tokens": 3}
        return {"object": "list", "data": vectors, "model": body["model"], "usage": usage}

    async def models(self) -> list[dict[str, Any]]:
        return [{"id": "scripted", "object": "model", "created": 0, "owned_by": "tests"}]

    async def ready(self) -> bool:
        return self.up


class EchoEngine(ScriptedEngine):
    """Answers with the text, in the channel and in pieces of the size that the last message, a JSON wish, names."""

    async def stream(self, endpoint: str, body: dict[str, Any], tenant: str) -> AsyncIterator[Delta]:
        wish = json.loads(body["messages"][-1]["content"])
        text, cut, variant = wish["text"], wish["cut"], wish["variant"]
        index = 1 if variant == "second choice" else 0
        if variant == "tool":
            yield Delta(0, "tool_arguments", "", 0, "call_1", "lookup")
        if index == 1:
            yield Delta(0, "content", "A fine first choice.", finish_reason="stop")
        for piece in (text[i : i + cut] for i in range(0, len(text), cut)):
            await asyncio.sleep(0)
            if variant == "tool":
                yield Delta(0, "tool_arguments", piece, 0)
            elif variant == "logprobs":
                yield Delta(0, "content", piece, logprobs=[{"token": piece, "logprob": -0.1, "bytes": None}])
            else:
                yield Delta(index, "reasoning" if variant == "reasoning" else "content", piece)
        yield Delta(index, finish_reason="stop")


def text_deltas(
    text: str, cut: int = 4, index: int = 0, channel: str = "content", finish: str | None = "stop", usage: bool = True
) -> list[Delta]:
    """`text` in pieces of `cut` characters, then a finish reason and the usage."""
    deltas = [Delta(index, channel, text[i : i + cut]) for i in range(0, len(text), cut)]  # type: ignore[arg-type]
    if finish:
        deltas.append(Delta(index, finish_reason=finish))
    if usage:
        tokens = len(deltas)
        deltas.append(Delta(usage={"prompt_tokens": 3, "completion_tokens": tokens, "total_tokens": tokens + 3}))
    return deltas


def tool_deltas(name: str, arguments: str, cut: int = 4, index: int = 0, tool: int = 0) -> list[Delta]:
    head = Delta(index, "tool_arguments", "", tool, f"call_{tool}", name)
    pieces = [Delta(index, "tool_arguments", arguments[i : i + cut], tool) for i in range(0, len(arguments), cut)]
    return [head, *pieces]


class WordGuard:
    """Scores 1 for every category whose word is in the text, 0 otherwise, with spans."""

    version = "1"
    most_chars: int | None = 8_000

    def __init__(self, words: Mapping[str, str], name: str = "words") -> None:
        self.name = name
        self.words = dict(words)
        self.digest = hashlib.sha256(repr(sorted(words.items())).encode()).hexdigest()
        self.judged: list[Passage] = []

    def covers(self, stage: str) -> frozenset[str]:
        return frozenset(self.words)

    def judge(self, passages: Sequence[Passage]) -> list[Scores]:
        self.judged += passages
        return [self._scores(p.text) for p in passages]

    def _scores(self, text: str) -> Scores:
        spans = []
        for category, word in self.words.items():
            at = text.find(word)
            while at >= 0:
                spans.append(Span(at, at + len(word), category))
                at = text.find(word, at + 1)
        return Scores({c: float(any(s.category == c for s in spans)) for c in self.words}, tuple(spans))


class BrokenGuard(WordGuard):
    """Fails on texts that hold `trigger`; the empty trigger fails always."""

    def __init__(self, words: Mapping[str, str], trigger: str = "", name: str = "words") -> None:
        super().__init__(words, name)
        self.trigger = trigger

    def judge(self, passages: Sequence[Passage]) -> list[Scores]:
        if any(self.trigger in p.text for p in passages):
            raise GuardError("broken on purpose")
        return super().judge(passages)


class MemoryLedger:
    """Keeps events in order; `durable` counts how many of them a commit has covered."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.durable = 0
        self.broken = False

    def append(self, event: dict[str, Any]) -> None:
        if self.broken:
            raise LedgerUnavailable("broken on purpose")
        self.events.append(event)

    async def commit(self, event: dict[str, Any]) -> None:
        self.append(event)
        await asyncio.sleep(0)
        self.durable = len(self.events)

    @property
    def writable(self) -> bool:
        return not self.broken

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["event"] == kind]


class FixedKeys:
    """Keys known from the start."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        self.callers = dict(callers)

    async def lookup(self, token: str) -> Caller | None:
        return self.callers.get(token)
