"""POST /v1/chat/completions: the request as an `Asked`, the answer in OpenAI's shapes."""

import time
from dataclasses import dataclass, field
from typing import Any

from service.api.passages import of_chat
from service.api.relay import Writer
from service.api.schemas import ChatRequest
from service.api.sse import Template
from service.gate.exchange import Asked, Finished, Json, Opened, Piece, Release, Usage


def asked(request: ChatRequest) -> Asked:
    """What goes to the gate: allow-listed fields, and every text of them as a passage."""
    places = of_chat(request.body())
    return Asked(
        "chat",
        places.body,
        places.passages(),
        places,
        choices=request.n or 1,
        stream=request.stream,
        subject=request.user,
    )


@dataclass(slots=True)
class _Choice:
    """One choice of an answer that is sent whole."""

    text: dict[str, str] = field(default_factory=dict)  # by channel
    tool_calls: dict[int, Json] = field(default_factory=dict)
    logprobs: list[Any] = field(default_factory=list)
    finished: Finished | None = None


class ChatWriter(Writer):
    """Writes one answer: `opening` and `event` for a stream, `add` and `document` for a whole."""

    def __init__(self, asked: Asked, include_usage: bool = False) -> None:
        self._head: Json = {
            "id": "chatcmpl-" + asked.id.removeprefix("exc_"),
            "object": "chat.completion.chunk" if asked.stream else "chat.completion",
            "created": int(time.time()),
            "model": asked.body["model"],
        }
        self._logprobs = bool(asked.body.get("logprobs"))
        self._include_usage = include_usage
        self._template = Template(self._head, include_usage)
        self._choices = [_Choice() for _ in range(asked.choices)]
        self._usage: Json | None = None

    def opening(self) -> bytes:
        """The role of every choice, before any text."""
        delta = {"role": "assistant", "content": "", "refusal": None}
        return b"".join(self._chunk(index, delta) for index in range(len(self._choices)))

    def event(self, release: Release) -> bytes:
        match release:
            case Piece():
                return self._chunk(release.index, _delta(release), logprobs=release.logprobs)
            case Finished():
                delta = {"refusal": release.refusal} if release.refusal else {}
                return self._chunk(release.index, delta, release.finish_reason)
            case Usage():
                return self._template.usage(release.tokens) if self._include_usage else b""
            case Opened():
                return b""

    def _chunk(self, index: int, delta: Json, finish: str | None = None, logprobs: tuple[Any, ...] = ()) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": _logprobs(logprobs), "finish_reason": finish}
        return self._template.chunk(choice)

    def add(self, release: Release) -> None:
        match release:
            case Piece(tool=None):
                choice = self._choices[release.index]
                choice.text[release.channel] = choice.text.get(release.channel, "") + release.text
                choice.logprobs += release.logprobs
            case Piece():
                self._choices[release.index].tool_calls[release.tool or 0] = _tool_call(release)
            case Finished():
                self._choices[release.index].finished = release
            case Usage():
                self._usage = release.tokens

    def document(self) -> Json:
        choices = [self._whole(index, choice) for index, choice in enumerate(self._choices)]
        return self._head | {"choices": choices, "usage": self._usage}

    def _whole(self, index: int, choice: _Choice) -> Json:
        finished = choice.finished or Finished(index, "stop")
        content = choice.text.get("content", None if choice.tool_calls else "")
        message: Json = {"role": "assistant", "content": content, "refusal": finished.refusal}
        if "reasoning" in choice.text:
            message["reasoning"] = choice.text["reasoning"]
        if choice.tool_calls:
            message["tool_calls"] = [call for _, call in sorted(choice.tool_calls.items())]
        logprobs = {"content": _flat(choice.logprobs), "refusal": None} if self._logprobs else None
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finished.finish_reason}


def _delta(piece: Piece) -> Json:
    if piece.tool is not None:
        return {"tool_calls": [{"index": piece.tool, **_tool_call(piece)}]}
    return {piece.channel: piece.text}


def _tool_call(piece: Piece) -> Json:
    function = {"name": piece.tool_name, "arguments": piece.text}
    return {"id": piece.tool_id, "type": "function", "function": function}


def _logprobs(entries: tuple[Any, ...]) -> Json | None:
    return {"content": _flat(entries), "refusal": None} if entries else None


def _flat(entries: "tuple[Any, ...] | list[Any]") -> list[Any]:
    return [token for entry in entries for token in entry]
