"""What a client may send to /v1/responses: an allow-list like `schemas`, in the words of that endpoint."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from service.api.schemas import (
    Function,
    Id,
    JsonObjectFormat,
    JsonSchema,
    Model,
    Name,
    NamedFunction,
    Strict,
    TextFormat,
    User,
    modality,
)

PARTS = {  # kind of a content part -> the field that holds its text, what else it may have
    "input_text": ("text", frozenset[str]()),
    "output_text": ("text", frozenset({"annotations", "logprobs"})),
    "text": ("text", frozenset[str]()),
    "refusal": ("refusal", frozenset[str]()),
}


def _joined(content: Any) -> Any:
    """Parts as the one text that the model reads: a phrase cut in two parts is judged whole."""
    if not isinstance(content, list):
        return content
    if not content:
        raise PydanticCustomError("no_parts", "The list of content parts is empty. Send text.")
    return "\n".join(_part_text(number, part) for number, part in enumerate(content))


def _part_text(number: int, part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    modality(number, kind)
    if isinstance(kind, str) and kind in PARTS:
        name, beside = PARTS[kind]
        if part.keys() - beside == {"type", name} and isinstance(part[name], str):
            return str(part[name])
    raise PydanticCustomError(
        "bad_part",
        "Content part {number} cannot be judged. Send parts of the form {{'type': 'input_text', 'text': '...'}}.",
        {"number": number},
    )


_PART = {"type": "object", "properties": {"type": {"enum": list(PARTS)}}, "required": ["type"]}
Text = Annotated[
    str,
    BeforeValidator(_joined),
    WithJsonSchema({"oneOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": _PART}]}),
]
Status = Literal["in_progress", "completed", "incomplete"]


class _Item(Strict):
    """`id` and `status` are accepted, so that an answer can be sent back as it came; they are not passed on."""

    id: Annotated[str, StringConstraints(max_length=256)] | None = None
    status: Status | None = None


class MessageItem(_Item):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Text


class CallItem(_Item):
    type: Literal["function_call"]
    call_id: Id
    name: Name
    arguments: str


class ResultItem(_Item):
    type: Literal["function_call_output"]
    call_id: Id
    output: Text


class ReasoningItem(_Item):
    """Accepted and not passed on."""

    type: Literal["reasoning"]
    summary: list[Any] | None = None
    content: list[Any] | None = None


def _kind(item: Any) -> str:
    return str(item.get("type") or "message") if isinstance(item, dict) else type(item).__name__


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[CallItem, Tag("function_call")]
    | Annotated[ResultItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(
        _kind,
        custom_error_type="bad_item",
        custom_error_message="No such item can be judged. Send messages, function_call or function_call_output items: "
        "nothing is stored that could be referred to.",
    ),
]


Input = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[Item], Field(min_length=1, max_length=2048), Tag("items")],
    Discriminator(lambda value: "items" if isinstance(value, list) else "text"),  # or a fault would be text's
]


class FunctionTool(Function):
    type: Literal["function"]


class ChosenTool(NamedFunction):
    type: Literal["function"]


class JsonSchemaText(JsonSchema):
    type: Literal["json_schema"]


class TextOptions(Strict):
    format: Annotated[TextFormat | JsonObjectFormat | JsonSchemaText, Field(discriminator="type")] | None = None


class ResponsesRequest(Strict):
    model: Model
    input: Input
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    text: TextOptions | None = None
    tools: Annotated[list[FunctionTool], Field(min_length=1, max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    stream: bool = False
    user: User | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "ResponsesRequest":
        names = [t.name for t in self.tools or ()]
        if self.tool_choice is not None and self.tool_choice != "none" and not names:
            raise PydanticCustomError("tool_choice", "tool_choice needs tools.")
        if isinstance(self.tool_choice, ChosenTool) and self.tool_choice.name not in names:
            raise PydanticCustomError("tool_choice", "tool_choice names a function that is not in tools.")
        return self

    @model_validator(mode="after")
    def _asks_something(self) -> "ResponsesRequest":
        if not isinstance(self.input, str) and all(isinstance(i, ReasoningItem) for i in self.input):
            raise PydanticCustomError("no_input", "input holds nothing that the model could answer. Send a message.")
        return self
