"""POST /v1/responses with an unmodified client: the same judged path as a chat, in another shape."""

import json

import openai
import pytest

from service.gate.exchange import Delta, EngineUnavailable
from tests.api.conftest import WORDS, error, policy
from tests.fakes import BrokenGuard, ScriptedEngine, WordGuard, text_deltas, tool_deltas
from tests.serving import served

PATH = "/v1/responses"
TOOL = {"type": "function", "name": "weather", "description": "tells", "parameters": {"type": "object"}, "strict": True}
SCHEMA = {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": True}
USER = {"role": "user", "content": "Hi"}
ANSWER = "Hello, how can I help you today?"


@pytest.fixture
def ask(http):
    def send(**fields):
        return http.post(PATH, json={"model": "m", "input": "Hi"} | fields)

    return send


def events(response):
    """(event, data) of a stream, after checking that it is one."""
    assert response.status_code == 200, response.text
    *blocks, rest = response.text.split("\n\n")
    assert rest == ""
    pairs = [block.split("\n", 1) for block in blocks if not block.startswith(":")]
    found = [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]
    assert all(name == data["type"] for name, data in found)
    assert [data["sequence_number"] for _, data in found] == list(range(len(found)))
    return found


def test_client_whole(client, engine):
    """The openai client gets the text, the usage and a finished message."""
    found = client.responses.create(model="m", input="Hi")
    assert found.output_text == ANSWER
    assert (found.status, found.output[0].type, found.output[0].status) == ("completed", "message", "completed")
    assert found.usage.total_tokens == found.usage.input_tokens + found.usage.output_tokens
    assert engine.bodies[-1] == {"model": "m", "messages": [USER]}


def test_client_streamed(client, engine):
    """The openai client's stream helper adds the events up to the document of the same request."""
    engine.deltas = text_deltas("word " * 60)
    whole = client.responses.create(model="m", input="Hi")
    with client.responses.stream(model="m", input="Hi") as stream:
        deltas = [e.delta for e in stream if e.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text == whole.output_text
    assert len(deltas) > 1
    assert final.usage == whole.usage


def test_order_of_events(ask, engine):
    """Every item and part is added before it grows and done after; the last event holds the whole response."""
    engine.deltas = text_deltas("ab")
    found = events(ask(stream=True))
    assert [name for name, _ in found] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    last = found[-1][1]["response"]
    assert found[-2][1]["item"] == last["output"][0]
    assert found[0][1]["response"]["status"] == "in_progress"
    assert found[0][1]["response"]["output"] == []
    assert last["usage"]["total_tokens"] > 0


def test_client_tools_and_reasoning(client, engine):
    """Reasoning, text and calls are items in their order, streamed and whole; the calls leave whole."""
    engine.deltas = [
        *text_deltas("Let me think.", channel="reasoning", finish=None, usage=False),
        *text_deltas("I look it up.", finish=None, usage=False),
        *tool_deltas("weather", '{"city": "Paris"}'),
        *tool_deltas("weather", '{"city": "Rome"}', tool=1),
        Delta(finish_reason="tool_calls"),
    ]
    asked = {"model": "m", "input": "Hi", "tools": [TOOL]}
    whole = client.responses.create(**asked)
    with client.responses.stream(**asked) as stream:
        deltas = [e for e in stream if e.type == "response.function_call_arguments.delta"]
        final = stream.get_final_response()
    assert [d.delta for d in deltas] == ['{"city": "Paris"}', '{"city": "Rome"}']
    for found in (whole, final):
        assert [item.type for item in found.output] == ["reasoning", "message", "function_call", "function_call"]
        assert found.output[0].content[0].text == "Let me think."
        assert found.output_text == "I look it up."
        assert [(c.call_id, c.name, c.arguments) for c in found.output[2:]] == [
            ("call_0", "weather", '{"city": "Paris"}'),
            ("call_1", "weather", '{"city": "Rome"}'),
        ]
        assert len({item.id for item in found.output}) == 4


def test_an_answer_can_be_sent_back(client, engine):
    """The output of an answer, as the client holds it, is input of the next request and reaches the model as a chat."""
    engine.deltas = [
        *text_deltas("Hm.", channel="reasoning", finish=None, usage=False),
        *text_deltas("I look.", finish=None, usage=False),
        *tool_deltas("weather", "{}"),
        Delta(finish_reason="tool_calls"),
    ]
    first = client.responses.create(model="m", input="Hi", tools=[TOOL])
    result = {"type": "function_call_output", "call_id": "call_0", "output": [{"type": "input_text", "text": "sunny"}]}
    history = [USER, *(item.model_dump() for item in first.output), result]
    client.responses.create(model="m", instructions="Be brief.", input=history)
    call = {"id": "call_0", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    assert engine.bodies[-1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        USER,
        {"role": "assistant", "content": "I look.", "tool_calls": [call]},
        {"role": "tool", "content": "sunny", "tool_call_id": "call_0"},
    ]


CHAT_TOOL = {"type": "function", "function": {k: v for k, v in TOOL.items() if k != "type"}}
CHOICE = {"type": "function", "function": {"name": "weather"}}
FIELDS = [
    ({"instructions": "Be brief."}, {"messages": [{"role": "system", "content": "Be brief."}, USER]}),
    ({"max_output_tokens": 5}, {"max_completion_tokens": 5}),
    ({"temperature": 0.5}, {"temperature": 0.5}),
    ({"top_p": 0.9}, {"top_p": 0.9}),
    ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
    ({"tools": [TOOL]}, {"tools": [CHAT_TOOL]}),
    ({"tools": [TOOL], "tool_choice": "required"}, {"tools": [CHAT_TOOL], "tool_choice": "required"}),
    (
        {"tools": [TOOL], "tool_choice": {"type": "function", "name": "weather"}},
        {"tools": [CHAT_TOOL], "tool_choice": CHOICE},
    ),
    ({"text": {"format": {"type": "text"}}}, {"response_format": {"type": "text"}}),
    ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
    (
        {"text": {"format": SCHEMA}},
        {"response_format": {"type": "json_schema", "json_schema": {k: v for k, v in SCHEMA.items() if k != "type"}}},
    ),
    ({"input": [USER]}, {}),
    ({"input": [{"type": "message", **USER, "status": "completed", "id": "m1"}]}, {}),
    ({"input": [USER | {"role": "developer"}]}, {"messages": [USER | {"role": "system"}]}),
    ({"stream": True}, {}),
    ({"user": "u-1"}, {}),
    ({"text": None, "store": None, "instructions": None}, {}),
]


@pytest.mark.parametrize(("fields", "reaches"), FIELDS, ids=lambda f: "+".join(f) if f else "")
def test_fields(ask, engine, service, fields, reaches):
    """An allow-listed field reaches the engine as the chat field that it means, and nothing is added."""
    assert ask(**fields).status_code == 200
    assert engine.bodies[-1] == {"model": "m", "messages": [USER]} | reaches
    assert service.ledger.of("asked")[-1]["endpoint"] == "responses"
    assert service.ledger.of("asked")[-1]["subject"] == fields.get("user")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("store", "Leave it out"),
        ("previous_response_id", "Nothing is stored"),
        ("conversation", "Nothing is stored"),
        ("background", "nothing is stored"),
        ("include", "Nothing is added"),
        ("metadata", "your side"),
        *(
            (name, "openapi.json")
            for name in ("reasoning", "truncation", "service_tier", "max_tool_calls", "prompt", "top_logprobs")
        ),
        *((name, "") for name in ("stream_options", "safety_identifier", "prompt_cache_key", "messages", "n", "stop")),
        *(
            (name, "")
            for name in ("logit_bias", "chat_template", "prompt_embeds", "cache_salt", "priority", "verbosity")
        ),
    ],
)
def test_other_fields_are_refused_by_name(ask, engine, name, says):
    """A field that is not on the list is a 400 that names it, says what to do, and never reaches the engine."""
    found = error(ask(**{name: True}))
    assert (found["param"], found["code"]) == (name, "unsupported_field")
    assert says in found["message"]
    assert engine.bodies == []


@pytest.mark.parametrize(
    ("items", "param"),
    [
        ([], "input"),
        ([1, 2], "input[0]"),
        ([{"type": "item_reference", "id": "msg_1"}], "input[0]"),
        ([{"type": "web_search_call", "id": "x"}], "input[0]"),
        ([USER | {"content": []}], "input[0].content"),
        ([USER | {"role": "critic"}], "input[0].role"),
        ([USER | {"content": [{"type": "input_image", "image_url": "x"}]}], "input[0].content"),
        ([USER | {"content": [{"type": "input_file", "file_id": "x"}]}], "input[0].content"),
        ([USER | {"content": [{"type": "input_text", "text": "a", "x": 1}]}], "input[0].content"),
        ([{"type": "function_call", "call_id": "c", "name": "a b", "arguments": ""}], "input[0].name"),
        ([{"type": "reasoning", "encrypted_content": "x"}], "input[0].encrypted_content"),
        ([{"type": "reasoning", "summary": []}], None),
        ([{"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image"}]}], "input[0].output"),
    ],
)
def test_items_that_cannot_be_judged(ask, engine, items, param):
    """An item, part or reference that no guard can read is a 400 with its place."""
    assert error(ask(input=items))["param"] == param
    assert engine.bodies == []


def test_tool_choice_needs_tools(ask):
    """tool_choice without its tool, and a built-in tool, are a 400."""
    assert "needs tools" in error(ask(tool_choice="auto"))["message"]
    assert "not in tools" in error(ask(tools=[TOOL], tool_choice={"type": "function", "name": "x"}))["message"]
    assert error(ask(tools=[{"type": "web_search"}]))["param"].startswith("tools[0]")


def test_every_text_is_judged(ask, engine):
    """Wherever the word is in the input, the request is refused as a chat would be."""
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": "dynamite"}'}
    for fields in (
        {"input": "dynamite"},
        {"instructions": "dynamite"},
        {
            "input": [
                USER | {"content": [{"type": "input_text", "text": "dyna"}, {"type": "input_text", "text": "dynamite"}]}
            ]
        },
        {"input": [USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "dynamite"}]}]},
        {"input": [USER, call]},
        {"input": [USER, {"type": "function_call_output", "call_id": "c", "output": "dynamite"}]},
        {"tools": [TOOL | {"description": "dynamite"}]},
        {"text": {"format": SCHEMA | {"schema": {"dynamite": {}}}}},
    ):
        for stream in (False, True):
            found = error(ask(**fields, stream=stream))
            assert (found["code"], found["sluicegate"]["stage"]) == ("content_filter", "input"), fields


def test_a_redacted_input_reaches_the_model_redacted(ask, engine):
    """A secret is taken out of its item, whichever it is."""
    assert ask(input=[USER | {"content": "it is hunter2"}]).status_code == 200
    assert engine.bodies[-1]["messages"] == [{"role": "user", "content": "it is [secret]"}]


def test_refused_output(ask, client, engine):
    """Text before the finding leaves, then a refusal part; the response is incomplete for content_filter."""
    harmless = "word " * 60
    engine.deltas = text_deltas(harmless + "dynamite and more.")
    whole = client.responses.create(model="m", input="Hi")
    found = events(ask(stream=True))
    assert found[-1][0] == "response.incomplete"
    streamed = found[-1][1]["response"]
    assert (whole.status, whole.incomplete_details.reason) == ("incomplete", "content_filter")
    assert (streamed["status"], streamed["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})
    assert whole.output_text
    assert harmless.startswith(whole.output_text)
    assert [p.type for p in whole.output[0].content] == ["output_text", "refusal"]
    assert whole.output[0].status == "incomplete"
    deltas = [data["delta"] for name, data in found if name == "response.refusal.delta"]
    assert deltas == [streamed["output"][0]["content"][-1]["refusal"]]


def test_refused_before_any_text(ask, engine):
    """An answer that is refused at once is a message with nothing but the refusal."""
    engine.deltas = text_deltas("dynamite")
    for document in (ask().json(), events(ask(stream=True))[-1][1]["response"]):
        assert [p["type"] for p in document["output"][0]["content"]] == ["refusal"]


def test_an_answer_that_was_too_long(client, engine):
    """An answer cut by max_output_tokens is incomplete and says so."""
    engine.deltas = text_deltas("Hello", finish="length")
    found = client.responses.create(model="m", input="Hi", max_output_tokens=1)
    assert (found.status, found.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_replaced_input(tmp_path):
    """Where the policy answers in the model's place, its text is the message."""
    rules = policy(input={"harm": {"action": "replace"}}, replacement="Let us talk of other things.")
    with (
        served(rules, [WordGuard(WORDS)]) as service,
        openai.OpenAI(base_url=service.url + "/v1", api_key=service.key, max_retries=0) as client,
    ):
        found = client.responses.create(model="m", input="dynamite")
    assert found.output_text == "Let us talk of other things."
    assert found.incomplete_details.reason == "content_filter"


def test_error_in_mid_stream(ask, client, engine):
    """An error after the first byte is one event `error`, the last; the openai client raises it."""
    engine.deltas, engine.error_after = text_deltas("word " * 100), 60
    name, data = events(ask(stream=True))[-1]
    assert (name, data["code"], data["error"]["code"]) == ("error", "engine_unavailable", "engine_unavailable")
    with pytest.raises(openai.APIError, match="engine"), client.responses.stream(model="m", input="Hi") as stream:
        stream.until_done()


def test_error_before_the_stream(ask, engine):
    """An error before the first byte is an HTTP status in OpenAI's error shape."""
    engine.rejects = EngineUnavailable("gone")
    assert error(ask(stream=True), 503)["code"] == "engine_unavailable"


def test_guard_failure():
    """A guard that fails is a 503, as in a chat."""
    with (
        served(policy(), [BrokenGuard(WORDS)], ScriptedEngine()) as service,
        openai.OpenAI(base_url=service.url + "/v1", api_key=service.key, max_retries=0) as client,
        pytest.raises(openai.InternalServerError, match="could not judge"),
    ):
        client.responses.create(model="m", input="Hi")
