"""The client against the real vLLM with the real small model."""

import asyncio
import json
import time
from collections import defaultdict
from contextlib import aclosing
from typing import Any

import pytest

from service.engine.client import VllmClient
from service.gate.exchange import Delta, EngineRejected

pytestmark = pytest.mark.engine

CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


async def ask(client: VllmClient, endpoint: Any = "chat", **body: Any) -> list[Delta]:
    defaults = {"temperature": 0, "max_tokens": 24} | ({"messages": CAPITAL} if endpoint == "chat" else {})
    return [delta async for delta in client.stream(endpoint, defaults | body, "tenant")]


def texts(deltas: list[Delta], channel: str = "content") -> dict[int, str]:
    found: dict[int, str] = defaultdict(str)
    for delta in deltas:
        if delta.channel == channel:
            found[delta.index] += delta.text
    return found


def finish(deltas: list[Delta]) -> dict[int, str]:
    return {delta.index: delta.finish_reason for delta in deltas if delta.finish_reason}


async def test_chat_answers(vllm: VllmClient):
    """A question is answered in several pieces, then comes the finish reason, and usage last and alone."""
    deltas = await ask(vllm)
    assert "Paris" in texts(deltas)[0]
    assert sum(bool(delta.text) for delta in deltas) > 3
    assert [delta.finish_reason for delta in deltas[-2:]] == ["stop", None]
    assert deltas[-1].usage["completion_tokens"] == 8
    assert deltas[-1].text == ""


async def test_a_long_seeded_prompt_is_no_way_to_end_the_engine(vllm: VllmClient):
    """A prompt longer than one step of the engine reads, with a seed, is answered, and so is what comes after it."""
    long = [{"role": "user", "content": "cat " * 3800}]
    assert finish(await ask(vllm, messages=long, seed=1, temperature=1, max_tokens=2))
    assert "Paris" in texts(await ask(vllm))[0]


async def test_turns(vllm: VllmClient):
    """Earlier turns of a conversation are part of what is answered."""
    messages = [
        {"role": "system", "content": "Be brief."},
        *CAPITAL,
        {"role": "assistant", "content": "The capital of France is Paris."},
        {"role": "user", "content": "And the capital of Italy?"},
    ]
    assert "Rome" in texts(await ask(vllm, messages=messages))[0]


async def test_choices(vllm: VllmClient):
    """Each of n choices has its index, its text and its finish reason."""
    deltas = await ask(vllm, n=2, temperature=1, seed=5, max_tokens=12)
    assert set(finish(deltas)) == {0, 1}
    assert all(texts(deltas)[index] for index in (0, 1))


async def test_stop(vllm: VllmClient):
    """A stop string ends the text before itself."""
    deltas = await ask(vllm, stop=["is Par"])
    assert texts(deltas)[0] == "The capital of France "
    assert finish(deltas) == {0: "stop"}


async def test_max_tokens(vllm: VllmClient):
    """The token limit ends a generation with the reason `length`."""
    assert finish(await ask(vllm, max_tokens=2)) == {0: "length"}


async def test_seed(vllm: VllmClient):
    """The same seed gives the same text, another seed another."""
    ask_seeded = [texts(await ask(vllm, temperature=1.2, seed=seed, max_tokens=16))[0] for seed in (1, 1, 2)]
    assert ask_seeded[0] == ask_seeded[1] != ask_seeded[2]


async def test_logprobs(vllm: VllmClient):
    """The tokens of the log-probabilities make exactly the text they come with."""
    deltas = await ask(vllm, logprobs=True, top_logprobs=2)
    for delta in deltas:
        assert "".join(entry["token"] for entry in delta.logprobs or ()) == delta.text
    assert all(len(entry["top_logprobs"]) == 2 for delta in deltas for entry in delta.logprobs or ())


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
async def test_logprobs_wait(vllm: VllmClient, endpoint: str):
    """No log-probability names a token before its text, not even while vLLM looks for a stop string."""
    prompt = {"prompt": "The capital of France is"} if endpoint == "completions" else {}
    deltas = await ask(vllm, endpoint, stop=["zzzzzzzzzz"], logprobs=1, max_tokens=20, **prompt)
    tokens = text = ""
    for delta in deltas:
        text += delta.text
        tokens += "".join(entry["token"] for entry in delta.logprobs or ())
        assert text.startswith(tokens)
    assert len(tokens) > 20


async def test_logprobs_stop(vllm: VllmClient):
    """The tokens of a stop string never leave as log-probabilities."""
    deltas = await ask(vllm, stop=["is Par"], logprobs=True, top_logprobs=0)
    assert [entry["token"] for delta in deltas for entry in delta.logprobs or ()] == [
        "The",
        " capital",
        " of",
        " France",
    ]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
async def test_tool_call(vllm: VllmClient, choice: Any):
    """A demanded tool call comes with id and name in its first piece and arguments that fit the schema."""
    deltas = await ask(vllm, tools=[WEATHER], tool_choice=choice, max_tokens=60)
    pieces = [delta for delta in deltas if delta.channel == "tool_arguments"]
    assert (pieces[0].tool, pieces[0].tool_name) == (0, "get_weather")
    assert pieces[0].tool_id
    assert set(json.loads(texts(deltas, "tool_arguments")[0])) == {"city"}
    assert finish(deltas)[0] in ("tool_calls", "stop")


async def test_tool_result(vllm: VllmClient, engine: Any):
    """The model reads the tools, its own call and the tool's result, and answers."""
    call = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    messages = [
        {"role": "user", "content": "What is the weather in Paris?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "Sunny, 25 degrees"},
    ]
    prompt = await engine.read(messages, tools=[WEATHER])
    for part in ('"Tells the weather of a city"', '"arguments": {"city": "Paris"}', "Sunny, 25 degrees"):
        assert part in prompt
    assert prompt.endswith("</tool_response><|im_end|>\n<|im_start|>assistant\n")
    assert texts(await ask(vllm, messages=messages, tools=[WEATHER]))[0]


async def test_content_parts(engine: Any):
    """Text sent as content parts is read like text sent as a string."""
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "up?"}]
    assert "What is up?" in (await engine.read([{"role": "user", "content": parts}])).replace("\n", "")


async def test_json_schema(vllm: VllmClient):
    """A response format binds the text to its schema."""
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}, "large": {"type": "boolean"}},
        "required": ["city", "large"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    answer = json.loads(texts(await ask(vllm, response_format=form, max_tokens=60))[0])
    assert isinstance(answer["large"], bool)


async def test_completions(vllm: VllmClient):
    """The completions endpoint continues a text, log-probabilities and usage included."""
    deltas = await ask(vllm, "completions", prompt="The capital of France is", max_tokens=6, logprobs=1)
    assert "Paris" in texts(deltas)[0]
    assert all(len(entry["top_logprobs"]) >= 1 for delta in deltas for entry in delta.logprobs or ())
    assert deltas[-1].usage["completion_tokens"] == 6


async def test_close_aborts(vllm: VllmClient, engine: Any):
    """Closing the iterator ends vLLM's request within a second."""
    body = {"messages": CAPITAL, "max_tokens": 2000, "ignore_eos": True}
    async with aclosing(vllm.stream("chat", body, "tenant")) as stream:
        for _ in range(3):
            await anext(stream)
        assert await engine.running() >= 1
    closed = time.monotonic()
    while await engine.running():
        assert time.monotonic() - closed < 1
        await asyncio.sleep(0.02)


async def test_cancel_aborts(vllm: VllmClient, engine: Any):
    """Cancelling the task that reads ends vLLM's request, too."""
    reading = asyncio.create_task(ask(vllm, max_tokens=2000, ignore_eos=True))
    while not await engine.running():
        await asyncio.sleep(0.02)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    cancelled = time.monotonic()
    while await engine.running():
        assert time.monotonic() - cancelled < 1
        await asyncio.sleep(0.02)


async def test_too_long(vllm: VllmClient):
    """A prompt beyond the context is the caller's fault, and vLLM says how long it may be."""
    with pytest.raises(EngineRejected, match="4096") as error:
        await ask(vllm, messages=[{"role": "user", "content": "word " * 5000}])
    assert error.value.status == 400


async def test_bad_request_in_stream(vllm: VllmClient):
    """A request that vLLM finds wrong only after the stream began is still the caller's fault."""
    with pytest.raises(EngineRejected, match="max allowed"):
        await ask(vllm, logprobs=True, top_logprobs=100)


async def test_models(vllm: VllmClient, engine: Any):
    """The model is listed under its served name, without a path of the machine."""
    (model,) = await vllm.models()
    assert model["id"] == engine.model
    assert "/" not in json.dumps(model)
    assert await vllm.ready()


async def test_key(engine: Any):
    """Without the engine's key there is no way round the gate; with a wrong one the engine is unavailable."""
    from service.gate.exchange import EngineUnavailable

    client = VllmClient(engine.url, "wrong")
    with pytest.raises(EngineUnavailable):
        await ask(client)
    await client.close()


async def test_no_embedding(vllm: VllmClient):
    """The small model generates and does not embed: vLLM's answer becomes a clear 404."""
    model = (await vllm.models())[0]["id"]
    with pytest.raises(EngineRejected, match="does not embed") as caught:
        await vllm.embed({"model": model, "input": "Hi"})
    assert caught.value.status == 404
