"""POST /v1/responses: the request as the chat it means, so that there is one judged path; nothing is stored."""

from collections.abc import Iterator

from service.api.passages import of_chat
from service.api.response_schemas import (
    CallItem,
    ChosenTool,
    FunctionTool,
    Item,
    JsonSchemaText,
    MessageItem,
    ResponsesRequest,
    ResultItem,
)
from service.gate.exchange import Asked, Json

ROLES = {"developer": "system"}  # chat templates of open models know no developer


def asked(request: ResponsesRequest) -> Asked:
    """What goes to the gate: the chat that these items are, and every text of it as a passage."""
    places = of_chat(dict(_body(request)))
    return Asked("responses", places.body, places.passages(), places, stream=request.stream, subject=request.user)


def _body(request: ResponsesRequest) -> Iterator[tuple[str, object]]:
    """The chat request, field by field: those that the client set, and no other."""
    given = request.model_fields_set
    yield "model", request.model
    yield "messages", _messages(request)
    for name, theirs in (
        ("max_output_tokens", "max_completion_tokens"),
        ("temperature", "temperature"),
        ("top_p", "top_p"),
        ("parallel_tool_calls", "parallel_tool_calls"),
    ):
        if name in given:
            yield theirs, getattr(request, name)
    if request.tools:
        yield "tools", [_function(tool) for tool in request.tools]
    if isinstance(request.tool_choice, ChosenTool):
        yield "tool_choice", {"type": "function", "function": {"name": request.tool_choice.name}}
    elif request.tool_choice:
        yield "tool_choice", request.tool_choice
    if request.text and request.text.format:
        yield "response_format", _format(request.text.format)


def _messages(request: ResponsesRequest) -> list[Json]:
    messages: list[Json] = [{"role": "system", "content": request.instructions}] if request.instructions else []
    if isinstance(request.input, str):
        return [*messages, {"role": "user", "content": request.input}]
    for item in request.input:
        _append(messages, item)
    return messages


def _append(messages: list[Json], item: Item) -> None:
    match item:
        case MessageItem():
            messages.append({"role": ROLES.get(item.role, item.role), "content": item.content})
        case CallItem():  # the calls of one turn, and the text before them, are one message of a chat
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant"})
            function = {"name": item.name, "arguments": item.arguments}
            calls = messages[-1].setdefault("tool_calls", [])
            calls.append({"id": item.call_id, "type": "function", "function": function})
        case ResultItem():
            messages.append({"role": "tool", "content": item.output, "tool_call_id": item.call_id})


def _function(tool: FunctionTool) -> Json:
    return {"type": "function", "function": tool.model_dump(mode="json", exclude_unset=True, exclude={"type"})}


def _format(wanted: object) -> Json:
    if isinstance(wanted, JsonSchemaText):
        schema = wanted.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"type"})
        return {"type": "json_schema", "json_schema": schema}
    return {"type": wanted.type}  # type: ignore[attr-defined]  # the formats without a schema
