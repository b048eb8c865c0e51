"""No leak: an unsafe phrase at every offset of a long answer, seen from the client's end of a real connection."""

import asyncio
import json
import os
from collections.abc import AsyncIterator

import aiohttp
import pytest

from guards.policy import Policy
from service.gate.exchange import Delta
from tests.fakes import ScriptedEngine, WordGuard
from tests.serving import served

PROVE = bool(os.environ.get("SLUICEGATE_PROVE"))
LOOKAHEAD = 16
SHORT = "§¶†‡•ªº¬±µ¿¡«»÷×"  # as long as the lookahead; none of its characters is anywhere else in a response
LONG = "".join(chr(0x0391 + i) for i in range(17)) + "".join(chr(0x0430 + i) for i in range(30))
PREFIX = LONG[:12]  # what the guard knows of the long phrase
FILLER = "the quick brown fox jumps over the lazy dog and then it rests for a while in the warm sun "
ANSWER = (FILLER * 4)[:320]
VARIANTS = ("content", "logprobs", "reasoning", "tool", "second choice")
POLICY = Policy.model_validate(
    {
        "name": "leaks",
        "version": 1,
        "guards": ["words"],
        "lookahead_chars": LOOKAHEAD,
        "first_segment_chars": 4,
        "most_segment_chars": 64,
        "output": {"harm": {}, "hate": {}},
    }
)


class Planted(ScriptedEngine):
    """Answers with the phrase at the offset, in the channel and in pieces of the size that the prompt names."""

    async def stream(self, endpoint: str, body: dict, tenant: str) -> AsyncIterator[Delta]:
        wish = json.loads(body["messages"][-1]["content"])
        phrase = SHORT if wish["phrase"] == "short" else LONG
        text = ANSWER[: wish["offset"]] + phrase + ANSWER[wish["offset"] :]
        pieces = [text[i : i + wish["cut"]] for i in range(0, len(text), wish["cut"])]
        variant = wish["variant"]
        index = 1 if variant == "second choice" else 0
        if variant == "tool":
            yield Delta(0, "tool_arguments", "", 0, "call_1", "lookup")
        for number, piece in enumerate(pieces):
            await asyncio.sleep(0)
            if variant == "tool":
                yield Delta(0, "tool_arguments", piece, 0)
            elif variant == "logprobs":
                yield Delta(0, "content", piece, logprobs=[{"token": piece, "logprob": -0.1, "bytes": None}])
            else:
                yield Delta(index, "reasoning" if variant == "reasoning" else "content", piece)
            if index == 1 and number == 0:
                yield Delta(0, "content", "A fine first choice.", finish_reason="stop")
        yield Delta(index, finish_reason="stop")


@pytest.fixture(scope="module")
def service():
    with served(POLICY, [WordGuard({"harm": SHORT, "hate": PREFIX})], Planted()) as running:
        yield running


async def ask(session, service, offset, cut, variant, phrase, stream) -> bytes:
    wish = {"offset": offset, "cut": cut, "variant": variant, "phrase": phrase}
    body = {
        "model": "scripted",
        "messages": [{"role": "user", "content": json.dumps(wish)}],
        "stream": stream,
        "n": 2 if variant == "second choice" else 1,
    }
    if variant == "logprobs":
        body["logprobs"] = True
    if variant == "tool":
        body["tools"] = [{"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}]
    async with session.post(f"{service.url}/v1/chat/completions", json=body) as response:
        raw = await response.read()
        assert response.status == 200, raw
        return raw


async def answers(service, places, variant, phrase, stream, at_once=8) -> AsyncIterator[tuple[int, int, bytes]]:
    """What the client got for the phrase at each place (offset, cut)."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {service.key}"}) as session:
        for i in range(0, len(places), at_once):
            some = places[i : i + at_once]
            raws = await asyncio.gather(*(ask(session, service, o, c, variant, phrase, stream) for o, c in some))
            for (offset, cut), raw in zip(some, raws, strict=True):
                yield offset, cut, raw


def channel_text(raw: bytes, stream: bool, variant: str) -> str:
    """All text of the planted channel that reached the client."""
    index = 1 if variant == "second choice" else 0
    documents = [json.loads(raw)] if not stream else [json.loads(c[6:]) for c in raw.split(b"\n\n") if c[6:7] == b"{"]
    text = ""
    for choice in (c for d in documents for c in d["choices"] if c["index"] == index):
        message = choice.get("delta") or choice.get("message") or {}
        key = "reasoning_content" if variant == "reasoning" else "content"
        text += message.get(key) or ""
        text += "".join(c["function"].get("arguments", "") for c in message.get("tool_calls") or ())
    return text


def leaked(raw: bytes, phrase: str) -> str:
    """Characters of the phrase anywhere in what left the process, escaped or not, in text, logprobs or names."""
    seen = raw.decode() + raw.decode().encode().decode("unicode_escape", "replace")
    return "".join(c for c in phrase if c in raw.decode() or f"\\u{ord(c):04x}" in seen.lower())


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("variant", VARIANTS)
async def test_no_character_of_a_short_phrase_leaves_at_any_offset(service, variant, stream):
    """Of a phrase as long as the lookahead nothing leaves, wherever it is, however the engine cuts its text."""
    places = [(o, c) for o in range(len(ANSWER) + 1) for c in (range(1, 20) if PROVE else ((1, 3, 7)[o % 3],))]
    async for offset, cut, raw in answers(service, places, variant, "short", stream):
        assert leaked(raw, SHORT) == "", (offset, cut)
        assert ANSWER[:offset].startswith(channel_text(raw, stream, variant)), (offset, cut)
        assert b"content_filter" in raw, (offset, cut)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("variant", VARIANTS)
async def test_of_a_longer_phrase_nothing_leaves_after_what_the_guard_flags(service, variant, stream):
    """Nothing after the first prefix that the guard flags leaves; what left is a prefix of the answer."""
    offsets = range(len(ANSWER) + 1) if PROVE else range(0, len(ANSWER) + 1, 3)
    places = [(o, c) for o in offsets for c in (range(1, 20) if PROVE else ((1, 5, 11)[o % 3],))]
    async for offset, cut, raw in answers(service, places, variant, "long", stream):
        assert leaked(raw, LONG[len(PREFIX) :]) == "", (offset, cut)
        got = channel_text(raw, stream, variant)
        assert (ANSWER[:offset] + LONG + ANSWER[offset:]).startswith(got), (offset, cut)
        assert len(got) < offset + len(PREFIX), (offset, cut)


async def test_a_clean_answer_of_the_same_shape_leaves_whole(service):
    """The check can fail: without a phrase the flagged words know, everything leaves."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {service.key}"}) as session:
        raw = await ask(session, service, 0, 3, "content", "short", True)
        assert b"content_filter" in raw
    with served(POLICY, [WordGuard({"harm": "\x00", "hate": "\x00"})], Planted()) as open_gate:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {open_gate.key}"}) as session:
            raw = await ask(session, open_gate, 40, 3, "content", "short", True)
            assert leaked(raw, SHORT) == SHORT
            assert channel_text(raw, True, "content") == ANSWER[:40] + SHORT + ANSWER[40:]
