"""The engine at work: a task that fills the holds of every choice while the judges judge."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from guards.verdict import Kind, Passage
from service.gate.exchange import Asked, Channel, Delta, EngineUnavailable, GateError, Json, Piece
from service.gate.release import Hold, Pace

KINDS: dict[Channel, Kind] = {"content": "response", "reasoning": "reasoning", "tool_arguments": "tool_arguments"}


@dataclass(slots=True)
class Channelled:
    """A hold and where its text belongs. A tool call's text is its name, a line end, its arguments: judged whole."""

    index: int
    channel: Channel
    hold: Hold
    tool: int | None = None
    tool_id: str | None = None
    seen: set[tuple[str, ...]] = field(default_factory=set)  # kinds of verdicts already in the ledger

    def passage(self, asked: Asked) -> Passage:
        hold, prompt = self.hold, asked.prompt_of(self.index)
        return Passage(hold.text, KINDS[self.channel], prompt, since=hold.released, growing=not hold.ended)

    def piece(self, text: str, logprobs: tuple[Any, ...]) -> Piece:
        if self.tool is None:
            return Piece(self.index, self.channel, text, logprobs=logprobs)
        name, _, arguments = text.partition("\n")
        return Piece(self.index, self.channel, arguments, self.tool, self.tool_id, name, logprobs)


@dataclass(slots=True)
class Choice:
    index: int
    holds: dict[tuple[Channel, int | None], Channelled] = field(default_factory=dict)
    finish_reason: str | None = None
    closed: bool = False  # its Finished was sent

    @property
    def drained(self) -> bool:
        return self.finish_reason is not None and all(c.hold.drained for c in self.holds.values())


class Generation:
    """Runs one engine stream. `changed` is set whenever a hold became ready, a choice or the stream ended."""

    def __init__(self, deltas: AsyncIterator[Delta], choices: int, pace: Pace) -> None:
        self.choices = [Choice(i) for i in range(choices)]
        self.changed = asyncio.Event()
        self.started = asyncio.Event()  # the engine gave something, or failed
        self.error: GateError | None = None
        self.usage: Json | None = None
        self._pace = pace
        self._whole = Pace(pace.lookahead_chars, pace.first_chars, pace.most_chars, whole=True)
        self._task = asyncio.create_task(self._run(deltas))

    @property
    def done(self) -> bool:
        return self._task.done()

    async def stop(self) -> None:
        """Closes the engine's request; returns when it is closed."""
        self._task.cancel()
        await asyncio.wait([self._task])

    def holds(self) -> list[Channelled]:
        return [c for choice in self.choices if not choice.closed for c in choice.holds.values()]

    async def _run(self, deltas: AsyncIterator[Delta]) -> None:
        try:
            async with aclosing(deltas) as stream:  # type: ignore[type-var]  # engines stream by generators
                async for delta in stream:
                    self._take(delta)
                    self.started.set()
            if unfinished := [c.index for c in self.choices if c.finish_reason is None]:
                self.error = EngineUnavailable(f"The engine ended without finishing choice {unfinished[0]}.")
        except GateError as error:
            self.error = error
        except Exception as error:  # whatever broke, the exchange must end and be recorded
            self.error = EngineUnavailable(f"The engine's stream broke: {type(error).__name__}.")
        finally:
            self.started.set()
            self.changed.set()

    def _take(self, delta: Delta) -> None:
        if delta.usage is not None:
            self.usage = delta.usage
            return
        choice = self.choices[delta.index]
        if choice.closed:
            return
        if delta.text or delta.logprobs is not None or delta.tool is not None:
            channelled = self._channel(choice, delta)
            if delta.tool_name:
                channelled.hold.push(f"{delta.tool_name}\n")
            channelled.hold.push(delta.text, delta.logprobs)
            if channelled.hold.ready:
                self.changed.set()
        if delta.finish_reason is not None:
            choice.finish_reason = delta.finish_reason
            for channelled in choice.holds.values():
                channelled.hold.end()
            self.changed.set()

    def _channel(self, choice: Choice, delta: Delta) -> Channelled:
        key = (delta.channel, delta.tool)
        channelled = choice.holds.get(key)
        if channelled is None:
            for earlier in choice.holds.values():  # what came before another channel is complete
                if earlier.tool is None:
                    earlier.hold.end()
            pace = self._whole if delta.tool is not None else self._pace
            channelled = Channelled(choice.index, delta.channel, Hold(pace), delta.tool)
            choice.holds[key] = channelled
        channelled.tool_id = delta.tool_id or channelled.tool_id
        return channelled
