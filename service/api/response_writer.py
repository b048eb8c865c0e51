"""The answer of /v1/responses: typed events of a stream, or the document that they add up to."""

import time
from collections.abc import Iterable, Iterator
from typing import Final

import orjson

from service.api.relay import Writer
from service.api.response_schemas import ResponsesRequest
from service.gate.exchange import Asked, Finished, Json, Opened, Piece, Release, Usage

TEXTS: Final = {  # channel -> kind of item, kind of part
    "content": ("message", "output_text"),
    "reasoning": ("reasoning", "reasoning_text"),
}
PREFIXES: Final = {"message": "msg", "reasoning": "rs", "function_call": "fc"}
INCOMPLETE: Final = {"content_filter": "content_filter", "length": "max_output_tokens"}  # finish reason -> why
Event = tuple[str, Json]


class ResponsesWriter(Writer):
    """An answer is a list of items: reasoning, message, function calls. The item and part that grow are the last."""

    def __init__(self, asked: Asked, request: ResponsesRequest) -> None:
        self._id = asked.id.removeprefix("exc_")
        self._head = _head(self._id, request)
        self._output: list[Json] = []
        self._growing: str | None = None  # the channel of the item that is not done
        self._finished: Finished | None = None
        self._usage: Json | None = None
        self._number = 0

    def opening(self) -> bytes:
        begun = {"response": self._head | {"status": "in_progress", "output": []}}
        return self._rendered([("response.created", begun), ("response.in_progress", begun)])

    def event(self, release: Release) -> bytes:
        return self._rendered(self._taken(release))

    def closing(self) -> bytes:
        whole = self.document()
        return self._rendered([(f"response.{whole['status']}", {"response": whole})])

    def failure(self, error: Json) -> bytes:
        """OpenAI's error event; its clients raise for the `error` inside."""
        plain = {name: error["error"][name] for name in ("code", "message", "param")}
        return self._rendered([("error", plain | error)])

    def add(self, release: Release) -> None:
        for _ in self._taken(release):
            pass

    def document(self) -> Json:
        reason = INCOMPLETE.get(self._finished.finish_reason) if self._finished else None
        return self._head | {
            "status": "incomplete" if reason else "completed",
            "incomplete_details": {"reason": reason} if reason else None,
            "output": self._output,
            "usage": _usage(self._usage),
        }

    def _rendered(self, events: Iterable[Event]) -> bytes:
        chunks = []
        for kind, fields in events:
            document = {"type": kind, "sequence_number": self._number} | fields
            chunks.append(b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(document) + b"\n\n")
            self._number += 1
        return b"".join(chunks)

    def _taken(self, release: Release) -> Iterator[Event]:
        match release:
            case Piece(tool=None):
                yield from self._text(release)
            case Piece():
                yield from self._call(release)
            case Finished():
                yield from self._end(release)
            case Usage():
                self._usage = release.tokens
            case Opened():
                return

    def _text(self, piece: Piece) -> Iterator[Event]:
        if self._growing != piece.channel:
            yield from self._done()
            item, part = TEXTS[piece.channel]
            yield from self._begun(item, piece.channel)
            yield self._part_begun(part)
        yield self._grown(piece.text)

    def _call(self, piece: Piece) -> Iterator[Event]:
        """A call leaves as one piece, whole."""
        yield from self._done()
        yield from self._begun("function_call", piece.channel, piece)
        self._item["arguments"] = piece.text
        yield "response.function_call_arguments.delta", self._at() | {"delta": piece.text}
        whole = {"arguments": piece.text, "name": piece.tool_name}
        yield "response.function_call_arguments.done", self._at() | whole
        yield from self._done()

    def _end(self, finished: Finished) -> Iterator[Event]:
        self._finished = finished
        if finished.refusal:
            if self._growing == "content":
                yield from self._part_done()
            else:
                yield from self._done()
                yield from self._begun("message", "content")
            yield self._part_begun("refusal")
            yield self._grown(finished.refusal)
        yield from self._done("incomplete" if finished.finish_reason in INCOMPLETE else "completed")

    @property
    def _item(self) -> Json:
        return self._output[-1]

    @property
    def _part(self) -> Json:
        part: Json = self._item["content"][-1]
        return part

    def _at(self) -> Json:
        return {"item_id": self._item["id"], "output_index": len(self._output) - 1}

    def _at_part(self) -> Json:
        return self._at() | {"content_index": len(self._item["content"]) - 1}

    def _begun(self, kind: str, channel: str, call: Piece | None = None) -> Iterator[Event]:
        about: Json = {"id": f"{PREFIXES[kind]}_{self._id}_{len(self._output)}", "type": kind, "status": "in_progress"}
        if call is not None:
            about |= {"call_id": call.tool_id, "name": call.tool_name, "arguments": ""}
        else:
            about |= {"role": "assistant", "content": []} if kind == "message" else {"summary": [], "content": []}
        self._output.append(about)
        self._growing = channel
        yield "response.output_item.added", {"output_index": len(self._output) - 1, "item": about}

    def _part_begun(self, kind: str) -> Event:
        beside: Json = {"annotations": [], "logprobs": []} if kind == "output_text" else {}
        self._item["content"].append({"type": kind, _text_of(kind): ""} | beside)
        return "response.content_part.added", self._at_part() | {"part": self._part}

    def _grown(self, text: str) -> Event:
        kind = self._part["type"]
        self._part[_text_of(kind)] += text
        beside: Json = {"logprobs": []} if kind == "output_text" else {}
        return f"response.{kind}.delta", self._at_part() | {"delta": text} | beside

    def _part_done(self) -> Iterator[Event]:
        kind, name = self._part["type"], _text_of(self._part["type"])
        beside: Json = {"logprobs": []} if kind == "output_text" else {}
        yield f"response.{kind}.done", self._at_part() | {name: self._part[name]} | beside
        yield "response.content_part.done", self._at_part() | {"part": self._part}

    def _done(self, status: str = "completed") -> Iterator[Event]:
        if self._growing is None:
            return
        if self._item.get("content"):
            yield from self._part_done()
        self._item["status"] = status
        self._growing = None
        yield "response.output_item.done", {"output_index": len(self._output) - 1, "item": self._item}


def _text_of(kind: str) -> str:
    """The field of a part that holds its text."""
    return "refusal" if kind == "refusal" else "text"


def _head(number: str, request: ResponsesRequest) -> Json:
    """What every document of one response begins with: what was asked, and that nothing of it is stored."""
    given = request.model_dump(mode="json", by_alias=True, exclude={"input"})
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": int(time.time()),
        "model": request.model,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "metadata": {},
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": request.temperature,
        "text": given["text"] if request.text and request.text.format else {"format": {"type": "text"}},
        "tool_choice": given["tool_choice"] or "auto",
        "tools": given["tools"] or [],
        "top_p": request.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": request.user,
    }


def _usage(tokens: Json | None) -> Json | None:
    """The engine's counts in the words of this endpoint; None when the gate stopped the engine early."""
    if tokens is None:
        return None
    cached = (tokens.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    reasoning = (tokens.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": tokens["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": tokens["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": tokens["total_tokens"],
    }
