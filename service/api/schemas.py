"""What a client may send: these models are the allow-list. A field that is not here is refused by name."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Stop = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Model = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:/@+-]{1,256}$")]
User = Annotated[str, StringConstraints(max_length=256)]
JsonObject = dict[str, Any]
MODALITIES = {"image_url": "images", "input_image": "images", "image": "images", "input_audio": "audio"} | {
    "audio_url": "audio", "video_url": "video", "file": "files", "input_file": "files"
}  # fmt: skip


def _joined(content: Any) -> Any:
    """Parts as the one text that the model reads: a phrase cut in two parts is judged whole."""
    if not isinstance(content, list):
        return content
    if not content:
        raise PydanticCustomError("no_parts", "The list of content parts is empty. Send text.")
    return "\n".join(_part_text(number, part) for number, part in enumerate(content))


def modality(number: int, kind: Any) -> None:
    """Refuses a content part that no guard can judge."""
    if isinstance(kind, str) and kind in MODALITIES:
        raise PydanticCustomError(
            "unsupported_modality",
            "Content part {number} is of type '{kind}': {what} cannot be judged and are refused. Send text only.",
            {"number": number, "kind": kind, "what": MODALITIES[kind]},
        )


def _part_text(number: int, part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    modality(number, kind)
    if kind == "text" and part.keys() == {"type", "text"} and isinstance(part["text"], str):
        return str(part["text"])
    raise PydanticCustomError(
        "bad_part",
        "Content part {number} cannot be judged. Send parts of the form {{'type': 'text', 'text': '...'}}.",
        {"number": number},
    )


_PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
    "additionalProperties": False,
}
Text = Annotated[
    str,
    BeforeValidator(_joined),
    WithJsonSchema({"oneOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": _PART}]}),
]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        """What a client library writes as null was not set."""
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, dict) else data


class SystemMessage(Strict):
    role: Literal["system", "developer"]
    content: Text
    name: Name | None = None

    @field_validator("role", mode="after")
    @classmethod
    def _system(cls, _role: str) -> str:
        return "system"  # chat templates of open models know no developer


class UserMessage(Strict):
    role: Literal["user"]
    content: Text
    name: Name | None = None


class FunctionCall(Strict):
    name: Name
    arguments: str


class ToolCall(Strict):
    id: Id
    type: Literal["function"]
    function: FunctionCall


class AssistantMessage(Strict):
    role: Literal["assistant"]
    content: Text | None = None
    name: Name | None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1, max_length=128)] | None = None
    refusal: str | None = Field(
        None, exclude=True, description="accepted, so that an answer can be sent back; not read"
    )
    reasoning: str | None = Field(None, exclude=True, description="the same")

    @model_validator(mode="after")
    def _says_something(self) -> "AssistantMessage":
        if self.content is None and self.tool_calls is None:
            if self.refusal is None:
                raise PydanticCustomError("empty_turn", "An assistant message needs content or tool_calls.")
            self.content = self.refusal
        return self


class ToolMessage(Strict):
    role: Literal["tool"]
    content: Text
    tool_call_id: Id
    name: Name | None = None


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class Function(Strict):
    name: Name
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class Tool(Strict):
    type: Literal["function"]
    function: Function


class NamedFunction(Strict):
    name: Name


class NamedTool(Strict):
    type: Literal["function"]
    function: NamedFunction


class TextFormat(Strict):
    type: Literal["text"]


class JsonObjectFormat(Strict):
    type: Literal["json_object"]


class JsonSchema(Strict):
    model_config = ConfigDict(serialize_by_alias=True)

    name: Name
    description: str | None = None
    schema_: JsonObject = Field(alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(Strict):
    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]


class StreamOptions(Strict):
    include_usage: bool = False


class _Sampling(Strict):
    """What both endpoints take. Fields marked `exclude` steer the gateway and do not go to the engine."""

    model: Model
    n: Annotated[int, Field(ge=1, le=16)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    stream: bool = Field(False, exclude=True)
    stream_options: StreamOptions | None = Field(None, exclude=True, description="only with stream")
    user: User | None = Field(None, exclude=True, description="your end user; kept as a keyed hash only")

    @model_validator(mode="after")
    def _options_of_a_stream(self) -> "_Sampling":
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError("stream_options", "stream_options needs stream to be true.")
        return self

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def body(self) -> JsonObject:
        """What goes to the engine: the fields the client set, and no other."""
        return self.model_dump(mode="json", exclude_unset=True)


class ChatRequest(_Sampling):
    messages: Annotated[list[Message], Field(min_length=1, max_length=2048)]
    max_completion_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Field(min_length=1, max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "ChatRequest":
        if self.top_logprobs is not None and not self.logprobs:
            raise PydanticCustomError("top_logprobs", "top_logprobs needs logprobs to be true.")
        names = [t.function.name for t in self.tools or ()]
        if self.tool_choice is not None and self.tool_choice != "none" and not names:
            raise PydanticCustomError("tool_choice", "tool_choice needs tools.")
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in names:
            raise PydanticCustomError("tool_choice", "tool_choice names a function that is not in tools.")
        return self


class CompletionRequest(_Sampling):
    prompt: str | Annotated[list[str], Field(min_length=1, max_length=16)]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _no_tokens(cls, prompt: Any) -> Any:
        if isinstance(prompt, list) and any(isinstance(p, int | list) for p in prompt):
            raise PydanticCustomError("token_ids", "Prompts of token ids cannot be judged. Send text.")
        return prompt

    @model_validator(mode="after")
    def _bounded(self) -> "CompletionRequest":
        if self.choices > 16:
            raise PydanticCustomError("choices", "n times the number of prompts must not exceed 16.")
        return self

    @property
    def choices(self) -> int:
        return (self.n or 1) * (1 if isinstance(self.prompt, str) else len(self.prompt))
