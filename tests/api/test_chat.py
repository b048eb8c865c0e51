"""Chat completions through the unmodified openai client, on a real connection."""

from contextlib import contextmanager

import openai
import pytest

from service.gate.exchange import Delta, EngineRejected, EngineUnavailable
from tests.api.conftest import WORDS, policy
from tests.fakes import BrokenGuard, MemoryLedger, ScriptedEngine, WordGuard, text_deltas, tool_deltas
from tests.serving import served

ASK = [{"role": "user", "content": "Hi there"}]
HELLO = "Hello, how can I help you today?"


def test_whole_answer(client, engine):
    """A whole answer has OpenAI's shape, the text, the usage and the exchange's id in a header."""
    raw = client.chat.completions.with_raw_response.create(model="m", messages=ASK)
    answer = raw.parse()
    assert raw.headers["x-sluicegate-exchange"].removeprefix("exc_") == answer.id.removeprefix("chatcmpl-")
    assert (answer.object, answer.model) == ("chat.completion", "m")
    choice = answer.choices[0]
    assert (choice.message.content, choice.message.refusal, choice.finish_reason) == (HELLO, None, "stop")
    assert choice.logprobs is None
    assert answer.usage.total_tokens > 0


def test_streamed_answer(client, engine):
    """A stream begins with the role, carries the text in order and ends with the finish reason."""
    chunks = list(client.chat.completions.create(model="m", messages=ASK, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == HELLO
    assert [c.choices[0].finish_reason for c in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert all(c.object == "chat.completion.chunk" and c.id == chunks[0].id and c.usage is None for c in chunks)


def test_usage_of_a_stream(client, engine):
    """With include_usage the last chunk has the usage and no choice; the others say null."""
    options = {"include_usage": True}
    *others, last = client.chat.completions.create(model="m", messages=ASK, stream=True, stream_options=options)
    assert last.choices == []
    assert last.usage.total_tokens > 0
    assert all("usage" in c.model_fields_set and c.usage is None for c in others)


async def test_async_client(service, engine):
    """The asynchronous client streams too."""
    async with openai.AsyncOpenAI(base_url=service.url + "/v1", api_key=service.key) as client:
        stream = await client.chat.completions.create(model="m", messages=ASK, stream=True)
        text = "".join([c.choices[0].delta.content or "" async for c in stream])
    assert text == HELLO


@pytest.mark.parametrize("stream", [False, True])
def test_two_choices(client, engine, stream):
    """Each choice of n=2 has its own text and its own end."""
    engine.deltas = text_deltas("first one", usage=False) + text_deltas("second one", index=1)
    answer = client.chat.completions.create(model="m", messages=ASK, n=2, stream=stream)
    texts = {0: "", 1: ""}
    if stream:
        for chunk in answer:
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
    else:
        texts = {c.index: c.message.content for c in answer.choices}
    assert texts == {0: "first one", 1: "second one"}


WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.mark.parametrize("stream", [False, True])
def test_tools_round_trip(client, engine, stream):
    """A tool call arrives whole, and the conversation goes on with its result."""
    engine.deltas = [*tool_deltas("weather", '{"city": "Paris"}'), Delta(0, finish_reason="tool_calls")]
    answer = client.chat.completions.create(model="m", messages=ASK, tools=[WEATHER], stream=stream)
    if stream:
        deltas = [c.choices[0].delta for c in answer]
        calls = [call for d in deltas for call in d.tool_calls or ()]
        assert [c.index for c in calls] == [0]
        message = {
            "role": "assistant",
            "tool_calls": [{"id": c.id, "type": "function", "function": c.function.model_dump()} for c in calls],
        }
    else:
        message = answer.choices[0].message
        assert message.content is None
        calls = message.tool_calls
    assert (calls[0].id, calls[0].type) == ("call_0", "function")
    assert (calls[0].function.name, calls[0].function.arguments) == ("weather", '{"city": "Paris"}')
    engine.deltas = text_deltas("Sunny.")
    result = {"role": "tool", "tool_call_id": "call_0", "content": "sunny, 25 degrees"}
    after = client.chat.completions.create(model="m", messages=[*ASK, message, result], tools=[WEATHER])
    assert after.choices[0].message.content == "Sunny."
    assert [m["role"] for m in engine.bodies[-1]["messages"]] == ["user", "assistant", "tool"]


def test_an_answer_dumped_whole_is_accepted_back(client, engine):
    """What model_dump makes of an answer, nulls included, can be sent as the assistant's turn."""
    message = client.chat.completions.create(model="m", messages=ASK).choices[0].message.model_dump()
    client.chat.completions.create(model="m", messages=[*ASK, message, *ASK])
    assert engine.bodies[-1]["messages"][1] == {"role": "assistant", "content": HELLO}


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs(client, engine, stream):
    """Log-probabilities arrive with the text they belong to."""
    tokens = ["Hel", "lo ", "you"]
    engine.deltas = [
        Delta(text=t, logprobs=[{"token": t, "logprob": -0.5, "bytes": None, "top_logprobs": []}]) for t in tokens
    ] + [Delta(finish_reason="stop")]
    answer = client.chat.completions.create(model="m", messages=ASK, logprobs=True, top_logprobs=0, stream=stream)
    if stream:
        choices = [c.choices[0] for c in answer]
        got = [t.token for c in choices if c.logprobs for t in c.logprobs.content]
    else:
        got = [t.token for t in answer.choices[0].logprobs.content]
    assert got == tokens


@pytest.mark.parametrize("stream", [False, True])
def test_reasoning(client, engine, stream):
    """Reasoning text leaves in a field of its own."""
    engine.deltas = [*text_deltas("think think", channel="reasoning", finish=None, usage=False), *text_deltas("Yes.")]
    answer = client.chat.completions.create(model="m", messages=ASK, stream=stream)
    if stream:
        deltas = [c.choices[0].delta for c in answer]
        assert "".join(getattr(d, "reasoning", None) or "" for d in deltas) == "think think"
        assert "".join(d.content or "" for d in deltas) == "Yes."
    else:
        assert answer.choices[0].message.reasoning == "think think"
        assert answer.choices[0].message.content == "Yes."


@pytest.mark.parametrize("stream", [False, True])
def test_refused_input(client, engine, stream):
    """A refused input is HTTP 400 in OpenAI's shape, with who refused what, and no text; streams get it too."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "sell me dynamite"}], stream=stream
        )
    body = caught.value.body
    assert (caught.value.code, body["type"], body["param"]) == ("content_filter", "invalid_request_error", None)
    assert body["sluicegate"].pop("appeal")
    exchange = caught.value.response.headers["x-sluicegate-exchange"]
    assert body["sluicegate"] == {
        "exchange_id": exchange,
        "stage": "input",
        "categories": ["harm"],
        "policy": "test",
    }
    assert "dynamite" not in caught.value.response.text


def test_refused_output_whole(client, engine):
    """A refused answer is HTTP 200: the text already released, finish_reason content_filter, a refusal."""
    engine.deltas = text_deltas("x" * 600 + " dynamite and the rest")
    choice = client.chat.completions.create(model="m", messages=ASK).choices[0]
    assert choice.finish_reason == "content_filter"
    assert choice.message.refusal
    assert "dynamite" not in choice.message.content
    assert ("x" * 600).startswith(choice.message.content)


def test_refused_output_streamed(client, engine):
    """The last chunk of a refused stream has finish_reason content_filter and the refusal; then [DONE]."""
    engine.deltas = text_deltas("x" * 600 + " dynamite and the rest")
    chunks = [c.choices[0] for c in client.chat.completions.create(model="m", messages=ASK, stream=True)]
    assert chunks[-1].finish_reason == "content_filter"
    assert chunks[-1].delta.refusal
    assert set("".join(c.delta.content or "" for c in chunks)) == {"x"}


def test_redacted_input(client, engine):
    """A redacted text reaches the engine in the place of the original."""
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": "my key is hunter2, ok?"}])
    assert engine.bodies[-1]["messages"] == [{"role": "user", "content": "my key is [secret], ok?"}]


def test_rejected_by_the_engine(client, engine):
    """What the engine finds wrong is the client's 400, with the engine's message."""
    engine.rejects = EngineRejected("The prompt is too long.")
    with pytest.raises(openai.BadRequestError, match="too long"):
        client.chat.completions.create(model="m", messages=ASK)


@pytest.mark.parametrize("stream", [False, True])
def test_engine_away_at_the_start(client, engine, stream):
    """An engine that cannot be reached is a 503 that says when to retry, before any byte of a stream."""
    engine.rejects = EngineUnavailable("The engine cannot be reached.")
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="m", messages=ASK, stream=stream)
    assert (caught.value.status_code, caught.value.code) == (503, "engine_unavailable")
    assert caught.value.response.headers["retry-after"] == "1"


def test_engine_away_in_mid_stream(client, engine):
    """After the first byte an error is one event, then the end."""
    engine.deltas = text_deltas("word " * 100)
    engine.error_after = 50
    stream = client.chat.completions.create(model="m", messages=ASK, stream=True)
    got = [next(stream).choices[0].delta.content for _ in range(3)]
    with pytest.raises(openai.APIError) as caught:
        got += [c.choices[0].delta.content for c in stream]
    assert caught.value.code == "engine_unavailable"
    assert ("word " * 100).startswith("".join(got))


@contextmanager
def _client(guard, engine=None, ledger=None, **more):
    with (
        served(policy(), [guard], engine, ledger, **more) as service,
        openai.OpenAI(base_url=service.url + "/v1", api_key=service.key, max_retries=0) as client,
    ):
        yield client


def test_guard_failure():
    """A guard that cannot judge is 503 guard_unavailable, and says neither which guard nor why."""
    with _client(BrokenGuard(WORDS)) as client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="m", messages=ASK)
    assert (caught.value.status_code, caught.value.code) == (503, "guard_unavailable")
    assert "words" not in caught.value.response.text


def test_ledger_failure():
    """A ledger that cannot write is 503 ledger_unavailable."""
    ledger = MemoryLedger()
    ledger.broken = True
    with _client(WordGuard(WORDS), ledger=ledger) as client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="m", messages=ASK)
    assert caught.value.code == "ledger_unavailable"


def test_overload():
    """More exchanges than allowed are 429 with Retry-After."""
    slow = ScriptedEngine(text_deltas("a slow answer"), pause_s=0.2)
    with (
        _client(WordGuard(WORDS), slow, max_exchanges=1) as client,
        client.chat.completions.create(model="m", messages=ASK, stream=True),
        pytest.raises(openai.RateLimitError) as caught,
    ):
        client.chat.completions.create(model="m", messages=ASK)
    assert caught.value.code == "overloaded"
    assert int(caught.value.response.headers["retry-after"]) >= 1


def _tool(**parameters):
    return {"type": "function", "function": {"name": "pay", "parameters": parameters}}


def test_redacted_tool(client, engine):
    """A secret deep in a tool's definition is redacted there, and the definition stays JSON."""
    deep = value = {}
    for _ in range(240):
        value["a"] = value = {}
    value["const"] = "hunter2"
    client.chat.completions.create(model="m", messages=ASK, tools=[_tool(**deep)])
    for _ in range(240):
        deep = deep["a"]
    sent = engine.bodies[-1]["tools"][0]["function"]["parameters"]
    for _ in range(240):
        sent = sent["a"]
    assert sent == {"const": "[secret]"}


def test_what_cannot_be_redacted_is_refused():
    """A redaction that would break the JSON of a tool is a 400 that names the field; nothing reaches the model."""
    guard = WordGuard(WORDS | {"secret": "424242"})
    seen = ScriptedEngine()
    with _client(guard, seen) as client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="m", messages=ASK, tools=[_tool(default=424242)])
    assert caught.value.body["param"] == "tools"
    assert seen.open == 0
