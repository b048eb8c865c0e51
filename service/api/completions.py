"""POST /v1/completions: the request as an `Asked`, the answer in OpenAI's shapes."""

import time

from service.api.passages import of_completion
from service.api.relay import Writer
from service.api.schemas import CompletionRequest
from service.api.sse import Template
from service.gate.exchange import Asked, Finished, Json, Opened, Piece, Release, Usage


def asked(request: CompletionRequest) -> Asked:
    """What goes to the gate: allow-listed fields, and every prompt as a passage."""
    places = of_completion(request.body())
    return Asked(
        "completions",
        places.body,
        places.passages(),
        places,
        choices=request.choices,
        stream=request.stream,
        subject=request.user,
    )


class CompletionWriter(Writer):
    """Writes one answer: `opening` and `event` for a stream, `add` and `document` for a whole."""

    def __init__(self, asked: Asked, include_usage: bool = False) -> None:
        self._head: Json = {
            "id": "cmpl-" + asked.id.removeprefix("exc_"),
            "object": "text_completion",
            "created": int(time.time()),
            "model": asked.body["model"],
        }
        self._include_usage = include_usage
        self._template = Template(self._head, include_usage)
        self._choices = [_choice(index) for index in range(asked.choices)]
        self._offsets = [0] * asked.choices  # where the next token of a choice begins, in characters
        self._usage: Json | None = None

    def opening(self) -> bytes:
        return b""

    def event(self, release: Release) -> bytes:
        match release:
            case Piece():
                return self._template.chunk(_choice(release.index, release.text, self._logprobs(release)))
            case Finished():
                return self._template.chunk(_ended(_choice(release.index), release))
            case Usage():
                return self._template.usage(release.tokens) if self._include_usage else b""
            case Opened():
                return b""

    def add(self, release: Release) -> None:
        match release:
            case Piece():
                choice = self._choices[release.index]
                choice["text"] += release.text
                if logprobs := self._logprobs(release):
                    choice["logprobs"] = choice["logprobs"] or {name: [] for name in logprobs}
                    for name, values in logprobs.items():
                        choice["logprobs"][name] += values
            case Finished():
                _ended(self._choices[release.index], release)
            case Usage():
                self._usage = release.tokens

    def document(self) -> Json:
        return self._head | {"choices": self._choices, "usage": self._usage}

    def _logprobs(self, piece: Piece) -> Json | None:
        """The engine's entries, one a token, as OpenAI's four lists."""
        entries = [token for entry in piece.logprobs for token in entry]
        if not entries:
            return None
        offsets = []
        for entry in entries:
            offsets.append(self._offsets[piece.index])
            self._offsets[piece.index] += len(entry["token"])
        return {
            "tokens": [e["token"] for e in entries],
            "token_logprobs": [e["logprob"] for e in entries],
            "top_logprobs": [e["top_logprobs"] for e in entries],
            "text_offset": offsets,
        }


def _choice(index: int, text: str = "", logprobs: Json | None = None) -> Json:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": None}


def _ended(choice: Json, finished: Finished) -> Json:
    choice["finish_reason"] = finished.finish_reason
    if finished.refusal:
        choice["refusal"] = finished.refusal  # OpenAI's completions have no such field; its clients keep it
    return choice
