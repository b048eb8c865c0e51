"""POST /v1/moderations: OpenAI's shape, the guards of the caller's policy. Nothing is generated or recorded."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, StringConstraints, Tag, WithJsonSchema

from guards.policy import SEVERITY
from guards.taxonomy import CATEGORIES, OPENAI, Category, parse_categories, to_openai
from guards.trigger import TRIGGERS
from guards.verdict import Passage
from service.api.passages import of_chat
from service.api.schemas import Message, Model, Strict, modality
from service.gate.exchange import Caller, GuardUnavailable, Json
from service.gate.pipeline import Gate, examine
from service.gate.reading import Read

OneText = Annotated[str, StringConstraints(min_length=1)]


class TextPart(Strict):
    type: Literal["text"]
    text: str


def _form(value: Any) -> str:
    if not isinstance(value, list):
        return "text"
    first = value[0] if value else ""
    if not isinstance(first, dict):
        return "texts"
    return "conversation" if "role" in first else "parts"


def _judgeable(value: Any) -> Any:
    for number, part in enumerate(value if isinstance(value, list) else ()):
        modality(number, part.get("type") if isinstance(part, dict) else None)
    return value


_TEXT = {"type": "string", "minLength": 1}
_OBJECT = {"type": "object", "description": "a message, or a part {'type': 'text', 'text': '...'}"}


class ModerationRequest(Strict):
    """`input` is a text, several texts, the parts of one text, or the messages of a conversation."""

    input: Annotated[
        Annotated[OneText, Tag("text")]
        | Annotated[list[OneText], Field(min_length=1, max_length=256), Tag("texts")]
        | Annotated[list[TextPart], Field(min_length=1, max_length=256), Tag("parts")]
        | Annotated[list[Message], Field(min_length=1, max_length=2048), Tag("conversation")],
        Discriminator(_form),
        BeforeValidator(_judgeable),
        WithJsonSchema({"oneOf": [_TEXT, {"type": "array", "minItems": 1, "items": {"oneOf": [_TEXT, _OBJECT]}}]}),
    ]
    model: Model | None = Field(
        None, description="accepted and not read: the policy of the key says which guards judge"
    )


async def moderate(gate: Gate, request: ModerationRequest, caller: Caller) -> Json:
    """One result for each text; a conversation and a text in parts have one.

    Raises:
        GuardUnavailable: a guard failed; there is no telling then what it would have found.
        Overloaded, EngineRejected: too many requests at once, too much text.
    """
    policy = gate.policy(caller)
    texts = _texts(request)
    if texts is None:
        rows = [await examine(gate, list(_passages(request)), policy, caller.tenant, conversation=True)]
    else:
        passages = [Passage(text) for text in texts]
        rows = [[read] for read in await examine(gate, passages, policy, caller.tenant, conversation=False)]
    known = {**CATEGORIES, **parse_categories(policy.categories)}
    return {
        "id": f"modr-{uuid.uuid4().hex}",
        "model": f"{policy.name}@{policy.version}",
        "results": [_result(row, known) for row in rows],
    }


def _texts(request: ModerationRequest) -> list[str] | None:
    """The texts to judge each alone; None for a conversation."""
    if isinstance(request.input, str):
        return [request.input]
    if isinstance(request.input[0], str):
        return [text for text in request.input if isinstance(text, str)]
    if isinstance(request.input[0], TextPart):
        return ["\n".join(part.text for part in request.input if isinstance(part, TextPart))]
    return None


def _passages(request: ModerationRequest) -> Iterator[Passage]:
    """An assistant's turns are judged as answers to what the user said last: here they are not input to a model."""
    turns = [turn for turn in request.input if isinstance(turn, BaseModel)]
    messages = [turn.model_dump(mode="json", exclude_unset=True) for turn in turns]
    prompt = ""
    places = of_chat({"messages": messages})
    for place, passage in zip(places.places, places.passages(), strict=True):
        message = messages[int(place.path[1])]
        if message["role"] == "assistant":
            yield Passage(passage.text, "tool_arguments" if "tool_calls" in place.path else "response", prompt)
        else:
            yield passage
            prompt = passage.text if passage.kind == "prompt" else prompt


def _result(row: Sequence[Read], known: Mapping[str, Category]) -> Json:
    if any(j.error for read in row for j in read.judgements):
        raise GuardUnavailable("A guard could not judge the text. Retry shortly.")
    scores = {c: s for c, s in _highest(row, but="").items() if c in known}
    verdicts = [v for read in row for v in read.decision.verdicts if v.mode == "enforce"]
    found = {v.category: 1.0 for v in verdicts}
    theirs, named = to_openai(scores, known), to_openai(found, known)
    judged = to_openai(_highest(row, but=TRIGGERS), known)
    return {
        "flagged": bool(verdicts),
        "categories": {name: name in named for name in OPENAI},
        "category_scores": {name: theirs.get(name, 0.0) for name in OPENAI},
        "category_applied_input_types": {name: ["text"] for name in OPENAI},
        "sluicegate": {
            "action": max((read.decision.action for read in row), key=SEVERITY.__getitem__, default="allow"),
            "categories": {name: name in found for name in sorted({*scores, *found})},
            "category_scores": scores,
            "unjudged": [name for name in OPENAI if name not in judged],
        },
    }


def _highest(row: Sequence[Read], but: str) -> dict[str, float]:
    """The highest score of each category that a guard, `but` one, gave to a text of the row."""
    highest: dict[str, float] = {}
    for judgement in (j for read in row for j in read.judgements if j.scores and j.guard != but):
        for category, score in judgement.scores.by_category.items():  # type: ignore[union-attr]  # filtered above
            highest[category] = max(score, highest.get(category, 0.0))
    return highest
