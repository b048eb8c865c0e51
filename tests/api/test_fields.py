"""What passes to the engine is an allow-list; everything else is refused by name."""

import pytest

from service.api.errors import UNSUPPORTED
from tests.api.conftest import error

ASK = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "function", "function": {"name": "weather", "description": "tells", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True}}
SHARED = {
    "n": 1,
    "stop": ["\n\n", "END"],
    "seed": -7,
    "max_tokens": 5,
    "temperature": 0.5,
    "top_p": 0.9,
    "presence_penalty": -1.5,
    "frequency_penalty": 2,
}
CHAT = SHARED | {
    "max_completion_tokens": 5,
    "response_format": SCHEMA,
    "logprobs": True,
    "tools": [TOOL],
    "parallel_tool_calls": False,
}
NEVER = sorted(
    {*UNSUPPORTED, "cache_salt", "priority", "include_reasoning", "structured_outputs", "min_p", "top_k", "bad_words"}
    | {"truncate_prompt_tokens", "add_special_tokens", "skip_special_tokens", "vllm_xargs", "kv_transfer_params", "x"}
)


@pytest.fixture
def post(http):
    def send(path="/v1/chat/completions", **fields):
        base = {"model": "m", "messages": ASK} if path.endswith("chat/completions") else {"model": "m"}
        return http.post(path, json=base | fields)

    return send


@pytest.mark.parametrize(("name", "value"), CHAT.items())
def test_chat_field_reaches_the_engine(post, engine, name, value):
    """An allow-listed field reaches the engine as it was sent, and nothing is added."""
    assert post(**{name: value}).status_code == 200
    assert engine.bodies[-1] == {"model": "m", "messages": ASK, name: value}


@pytest.mark.parametrize(("name", "value"), (SHARED | {"logprobs": 2}).items())
def test_completion_field_reaches_the_engine(post, engine, name, value):
    """An allow-listed field reaches the engine as it was sent, and nothing is added."""
    assert post("/v1/completions", prompt="Once", **{name: value}).status_code == 200
    assert engine.bodies[-1] == {"model": "m", "prompt": "Once", name: value}


def test_fields_that_need_another(post, engine):
    """top_logprobs, tool_choice and stream_options reach the engine or the gateway with what they need."""
    choice = {"type": "function", "function": {"name": "weather"}}
    assert post(logprobs=True, top_logprobs=3, tools=[TOOL], tool_choice=choice).status_code == 200
    assert engine.bodies[-1]["top_logprobs"] == 3
    assert engine.bodies[-1]["tool_choice"] == choice
    assert "top_logprobs needs logprobs" in error(post(top_logprobs=3))["message"]
    assert "needs tools" in error(post(tool_choice="auto"))["message"]
    assert "not in tools" in error(post(tools=[TOOL], tool_choice=choice | {"function": {"name": "x"}}))["message"]
    assert "needs stream" in error(post(stream_options={"include_usage": True}))["message"]


def test_fields_that_stay_here(post, engine, service):
    """stream, stream_options and user steer the gateway only; the user is the exchange's subject."""
    assert post(stream=True, stream_options={"include_usage": True}, user="u-1").status_code == 200
    assert engine.bodies[-1] == {"model": "m", "messages": ASK}
    assert service.ledger.of("asked")[-1]["subject"] == "u-1"


def test_null_is_absent(post, engine):
    """A field sent as null counts as not sent."""
    assert post(stop=None, tools=None, echo=None).status_code == 200
    assert engine.bodies[-1] == {"model": "m", "messages": ASK}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("name", NEVER)
def test_other_field_is_refused_by_name(post, engine, name, path):
    """A field that is not on the list is a 400 that names it and never reaches the engine."""
    found = error(post(path, **{"prompt": "x"} if path == "/v1/completions" else {}, **{name: True}))
    assert (found["param"], found["code"]) == (name, "unsupported_field")
    assert f"'{name}' is not supported" in found["message"]
    assert engine.bodies == []


def test_nested_field_is_refused_by_place(post):
    """A field inside a message or a tool is named with its place."""
    assert error(post(messages=[{"role": "user", "content": "Hi", "prefix": True}]))["param"] == "messages[0].prefix"
    assert error(post(tools=[TOOL | {"x": 1}]))["param"] == "tools[0].x"
    assert error(post(messages=[{"role": "user"}]))["param"] == "messages[0].content"
    assert error(post(messages=[{"role": "critic", "content": "x"}]))["param"] == "messages[0]"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
        {"type": "audio_url", "audio_url": {"url": "x"}},
        {"type": "video_url", "video_url": {"url": "x"}},
        {"type": "file", "file": {"file_id": "f"}},
    ],
    ids=lambda part: part["type"],
)
def test_what_cannot_be_judged_is_refused(post, engine, part):
    """Images, audio, video and files are a 400 that says where they are and that they cannot be judged."""
    content = [{"type": "text", "text": "look"}, part]
    found = error(post(messages=[*ASK, {"role": "user", "content": content}]))
    assert (found["param"], found["code"]) == ("messages[1].content", "unsupported_modality")
    assert "cannot be judged" in found["message"]
    assert part["type"] in found["message"]
    assert engine.bodies == []


@pytest.mark.parametrize("part", [{"type": "text", "text": "a", "x": 1}, {"type": "text"}, {"type": ["text"]}, "text"])
def test_unknown_parts_are_refused(post, part):
    """A content part of another form is a 400."""
    assert error(post(messages=[{"role": "user", "content": [part]}]))["param"] == "messages[0].content"


def test_parts_are_judged_as_the_one_text_they_are(post, engine):
    """A phrase cut in two parts is one text for the guard and for the model."""
    parts = [{"type": "text", "text": "hunter2"}, {"type": "text", "text": "bye"}]
    assert post(messages=[{"role": "user", "content": parts}]).status_code == 200
    assert engine.bodies[-1]["messages"] == [{"role": "user", "content": "[secret]\nbye"}]


@pytest.mark.parametrize("prompt", [[1, 2, 3], [[1, 2], [3]], [["a"]], []])
def test_token_ids_are_refused(post, engine, prompt):
    """A prompt of token ids cannot be judged and is a 400."""
    assert error(post("/v1/completions", prompt=prompt))["param"] == "prompt"
    assert engine.bodies == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 17}, "n"),
        ({"n": "1"}, "n"),
        ({"n": True}, "n"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"temperature": 3}, "temperature"),
        ({"seed": 2**63}, "seed"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"model": ""}, "model"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ],
)
def test_values_out_of_range(post, engine, fields, param):
    """A value of the wrong type or out of range is a 400 that names the field."""
    assert error(post(**fields))["param"] == param
    assert engine.bodies == []


def test_too_many_choices_of_prompts(post):
    """n times the number of prompts is bounded."""
    assert "must not exceed 16" in error(post("/v1/completions", prompt=["a"] * 9, n=2))["message"]


def test_a_long_prompt(post, engine):
    """A prompt of 195,000 characters is judged and answered; a megabyte is refused, saying how much may be."""
    text = "word " * 39_000
    assert post(messages=[{"role": "user", "content": text}]).status_code == 200
    assert engine.bodies[-1]["messages"][0]["content"] == text
    found = error(post(messages=[{"role": "user", "content": "word " * 200_000}]))
    assert "1000000 characters; at most 200000" in found["message"]
    assert len(engine.bodies) == 1
