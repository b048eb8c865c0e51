"""Text completions through the unmodified openai client."""

import openai
import pytest

from service.gate.exchange import Delta
from tests.fakes import text_deltas


def test_whole(client, engine):
    """A whole completion has OpenAI's shape."""
    answer = client.completions.create(model="m", prompt="Once")
    assert (answer.object, answer.choices[0].text) == ("text_completion", "Hello, how can I help you today?")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens > 0
    assert engine.bodies == [{"model": "m", "prompt": "Once"}]


def test_streamed(client, engine):
    """A stream carries the text in order, the finish reason and, if asked for, the usage."""
    options = {"include_usage": True}
    *chunks, last = client.completions.create(model="m", prompt="Once", stream=True, stream_options=options)
    assert "".join(c.choices[0].text for c in chunks) == "Hello, how can I help you today?"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert last.choices == []
    assert last.usage.total_tokens > 0


def test_several_prompts(client, engine):
    """Two prompts with n=2 make four choices."""
    engine.deltas = [d for i in range(4) for d in text_deltas(f"answer {i}", index=i, usage=False)]
    answer = client.completions.create(model="m", prompt=["a", "b"], n=2)
    assert [c.text for c in answer.choices] == [f"answer {i}" for i in range(4)]


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs(client, engine, stream):
    """Log-probabilities arrive as four lists, with offsets into the text."""
    tokens = ["Hel", "lo ", "you"]
    entries = [[{"token": t, "logprob": -0.5, "top_logprobs": {t: -0.5}}] for t in tokens]
    engine.deltas = [Delta(text=t, logprobs=e) for t, e in zip(tokens, entries, strict=True)]
    engine.deltas.append(Delta(finish_reason="stop"))
    answer = client.completions.create(model="m", prompt="Once", logprobs=1, stream=stream)
    found = [c.choices[0].logprobs for c in answer] if stream else [answer.choices[0].logprobs]
    found = [f for f in found if f]
    assert [t for f in found for t in f.tokens] == tokens
    assert [o for f in found for o in f.text_offset] == [0, 3, 6]
    assert [v for f in found for v in f.token_logprobs] == [-0.5] * 3
    assert [v for f in found for v in f.top_logprobs] == [{t: -0.5} for t in tokens]


def test_refusals(client, engine):
    """A refused prompt is a 400; a refused answer ends with content_filter and a refusal."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="m", prompt=["fine", "dynamite"])
    assert caught.value.code == "content_filter"
    engine.deltas = text_deltas("x" * 600 + " dynamite")
    choice = client.completions.create(model="m", prompt="Once").choices[0]
    assert choice.finish_reason == "content_filter"
    assert choice.refusal
    assert "dynamite" not in choice.text
    last = list(client.completions.create(model="m", prompt="Once", stream=True))[-1].choices[0]
    assert (last.finish_reason, bool(last.refusal)) == ("content_filter", True)
