"""Which texts of a request are judged, and how redacted ones are put back in their places."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from guards.verdict import Kind, Passage
from service.api.body import BadRequest
from service.gate.exchange import Json

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a body one judged text is. A `document` is judged as JSON text: names, descriptions, values and all."""

    path: Path
    kind: Kind
    document: bool = False

    def text(self, body: Json) -> str:
        value = _at(body, self.path)
        return orjson.dumps(value).decode() if self.document else str(value)


@dataclass(frozen=True, slots=True)
class Places:
    """The judged texts of one body. Calling it is the `rewrite` of an `Asked`."""

    body: Json
    places: tuple[Place, ...]

    def passages(self) -> tuple[Passage, ...]:
        return tuple(Passage(p.text(self.body), p.kind) for p in self.places)

    def __call__(self, texts: Sequence[str]) -> Json:
        """The body with `texts` (one for each place, in order) in place.

        Raises:
            BadRequest: a redaction broke the JSON of a tool or a schema.
        """
        body = copy.deepcopy(self.body)
        for place, text in zip(self.places, texts, strict=True):
            _at(body, place.path[:-1])[place.path[-1]] = _document(place.path, text) if place.document else text
        return body


def of_chat(body: Json) -> Places:
    return Places(body, tuple(p for p in _chat_places(body) if p.text(body)))


def of_completion(body: Json) -> Places:
    prompt = body["prompt"]
    paths: list[Path] = [("prompt",)] if isinstance(prompt, str) else [("prompt", i) for i in range(len(prompt))]
    return Places(body, tuple(Place(path, "prompt") for path in paths))


# What neither the application nor its user wrote is judged as untrusted input, as a tool's result is.
KINDS: dict[str, Kind] = {"system": "system", "user": "prompt", "assistant": "tool_result", "tool": "tool_result"}


def _chat_places(body: Json) -> Iterable[Place]:
    for number in range(len(body.get("tools", ()))):
        yield Place(("tools", number), "system", document=True)
    if "json_schema" in body.get("response_format", ()):
        yield Place(("response_format", "json_schema"), "system", document=True)
    for number, message in enumerate(body["messages"]):
        path, kind = ("messages", number), KINDS[message["role"]]
        if "name" in message:
            yield Place((*path, "name"), kind)
        for call in range(len(message.get("tool_calls", ()))):
            yield Place((*path, "tool_calls", call, "function", "name"), kind)
            yield Place((*path, "tool_calls", call, "function", "arguments"), kind)
        if "content" in message:
            yield Place((*path, "content"), kind)


def _at(body: Any, path: Path) -> Any:
    for step in path:
        body = body[step]
    return body


def _document(path: Path, text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadRequest("Holds data that must be redacted and cannot be. Remove it.", str(path[0])) from None
