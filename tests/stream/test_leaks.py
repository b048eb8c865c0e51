"""No leak: an unsafe phrase at every offset of a long answer, seen from the client's end of a real connection."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence

import aiohttp
import pytest

from guards.classifier import Classifier
from guards.policy import Policy
from guards.registry import load
from guards.verdict import Passage, Scores
from tests.fakes import EchoEngine, WordGuard
from tests.serving import Served, served

PROVE = bool(os.environ.get("SLUICEGATE_PROVE"))
LOOKAHEAD = 16
SHORT = "§¶†‡•ªº¬±µ¿¡«»÷×"  # as long as the lookahead; none of its characters is anywhere else in a response
LONG = "".join(chr(0x0391 + i) for i in range(17)) + "".join(chr(0x0430 + i) for i in range(30))
PREFIX = LONG[:12]  # what the guard knows of the long phrase
FILLER = "the quick brown fox jumps over the lazy dog and then it rests for a while in the warm sun "
ANSWER = (FILLER * 4)[:320]
THREAT = "You are worthless filth, you stupid disgusting bitch, and I will come and kill you and your whole family. "
CHAT = ("content", "logprobs", "reasoning", "tool", "second choice")
VARIANTS = (*CHAT, "responses content", "responses reasoning", "responses tool")
POLICY = Policy.model_validate(
    {
        "name": "leaks",
        "deadline_s": 60,
        "version": 1,
        "guards": ["words"],
        "lookahead_chars": LOOKAHEAD,
        "first_segment_chars": 4,
        "most_segment_chars": 64,
        "output": {"harm": {}, "hate": {}},
    }
)


@pytest.fixture(scope="module")
def service():
    with served(POLICY, [WordGuard({"harm": SHORT, "hate": PREFIX})], EchoEngine()) as running:
        yield running


async def ask(
    session: aiohttp.ClientSession, service: Served, text: str, cut: int, variant: str, stream: bool
) -> bytes:
    """Everything that left the process for one request whose answer is `text`."""
    wish = {"text": text, "cut": cut, "variant": variant.removeprefix("responses ")}
    if variant.startswith("responses "):
        body = {"model": "scripted", "input": json.dumps(wish), "stream": stream}
        return await post(session, service.url + "/v1/responses", body)
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
    return await post(session, service.url + "/v1/chat/completions", body)


async def post(session: aiohttp.ClientSession, url: str, body: dict) -> bytes:
    async with session.post(url, json=body) as response:
        raw = await response.read()
        assert response.status == 200, raw
        return raw


async def answers(
    service: Served, texts: Sequence[tuple[str, int]], variant: str, stream: bool, at_once: int = 8
) -> AsyncIterator[bytes]:
    """What left for each (text, cut), in order."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {service.key}"}) as session:
        for i in range(0, len(texts), at_once):
            some = texts[i : i + at_once]
            raws = await asyncio.gather(*(ask(session, service, t, c, variant, stream) for t, c in some))
            for (text, cut), raw in zip(some, raws, strict=True):
                if b"guard_unavailable" in raw:  # a virtual machine that stood still past the deadline
                    raw = await ask(session, service, text, cut, variant, stream)
                yield raw


def planted(phrase: str, offset: int) -> str:
    return ANSWER[:offset] + phrase + ANSWER[offset:]


def channel_text(raw: bytes, stream: bool, variant: str) -> str:
    """All text of the planted channel that reached the client."""
    if variant.startswith("responses "):
        return response_text(raw, stream)
    index = 1 if variant == "second choice" else 0
    documents = [json.loads(raw)] if not stream else [json.loads(c[6:]) for c in raw.split(b"\n\n") if c[6:7] == b"{"]
    text = ""
    for choice in (c for d in documents for c in d["choices"] if c["index"] == index):
        message = choice.get("delta") or choice.get("message") or {}
        key = "reasoning" if variant == "reasoning" else "content"
        text += message.get(key) or ""
        text += "".join(c["function"].get("arguments", "") for c in message.get("tool_calls") or ())
    return text


def response_text(raw: bytes, stream: bool) -> str:
    """The same of /v1/responses: its deltas, which its last event must repeat; a refusal is the gate's own text."""
    if not stream:
        return items_text(json.loads(raw)["output"])
    events = [json.loads(e.partition(b"\ndata: ")[2]) for e in raw.split(b"\n\n") if e.startswith(b"event: ")]
    text = "".join(e["delta"] for e in events if e["type"].endswith(".delta") and "refusal" not in e["type"])
    assert items_text(events[-1]["response"]["output"]) == text
    return text


def items_text(items: list[dict]) -> str:
    parts = [p.get("text", "") for item in items for p in item.get("content", ())]
    return "".join(parts) + "".join(item.get("arguments", "") for item in items)


def leaked(raw: bytes, phrase: str) -> str:
    """Characters of the phrase anywhere in what left the process, escaped or not, in text, logprobs or names."""
    seen = raw.decode() + raw.decode().encode().decode("unicode_escape", "replace")
    return "".join(c for c in phrase if c in raw.decode() or f"\\u{ord(c):04x}" in seen.lower())


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("variant", VARIANTS)
async def test_no_character_of_a_short_phrase_leaves_at_any_offset(service, variant, stream):
    """Of a phrase as long as the lookahead nothing leaves, wherever it is, however the engine cuts its text."""
    places = [(o, c) for o in range(len(ANSWER) + 1) for c in (range(1, 20) if PROVE else ((1, 3, 7)[o % 3],))]
    raws = answers(service, [(planted(SHORT, o), c) for o, c in places], variant, stream)
    for offset, cut in places:
        raw = await anext(raws)
        assert leaked(raw, SHORT) == "", (offset, cut)
        assert ANSWER[:offset].startswith(channel_text(raw, stream, variant)), (offset, cut)
        assert b"content_filter" in raw, (offset, cut)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("variant", VARIANTS)
async def test_of_a_longer_phrase_nothing_leaves_after_what_the_guard_flags(service, variant, stream):
    """Nothing after the first prefix that the guard flags leaves; what left is a prefix of the answer."""
    offsets = range(len(ANSWER) + 1) if PROVE else range(0, len(ANSWER) + 1, 3)
    places = [(o, c) for o in offsets for c in (range(1, 20) if PROVE else ((1, 5, 11)[o % 3],))]
    raws = answers(service, [(planted(LONG, o), c) for o, c in places], variant, stream)
    for offset, cut in places:
        raw = await anext(raws)
        assert leaked(raw, LONG[len(PREFIX) :]) == "", (offset, cut)
        got = channel_text(raw, stream, variant)
        assert planted(LONG, offset).startswith(got), (offset, cut)
        assert len(got) < offset + len(PREFIX), (offset, cut)


async def test_a_clean_answer_of_the_same_shape_leaves_whole(service):
    """The check can fail: where the guard knows other words, everything leaves."""
    text = planted(SHORT, 40)
    assert b"content_filter" in await anext(answers(service, [(text, 3)], "content", True))
    with served(POLICY, [WordGuard({"harm": "\x00", "hate": "\x00"})], EchoEngine()) as open_gate:
        raw = await anext(answers(open_gate, [(text, 3)], "content", True))
        assert leaked(raw, SHORT) == SHORT
        assert channel_text(raw, True, "content") == text


class Recorder:
    """A real guard; remembers what it was asked and what it said."""

    def __init__(self, guard: Classifier) -> None:
        self._guard = guard
        self.name, self.version, self.digest = guard.name, guard.version, guard.digest
        self.covers, self.most_chars = guard.covers, guard.most_chars
        self.said: list[tuple[str, float]] = []

    def judge(self, passages: Sequence[Passage]) -> list[Scores]:
        scores = self._guard.judge(passages)
        answers = [(p, s) for p, s in zip(passages, scores, strict=True) if p.kind == "response"]
        self.said += [(p.text, max(s.by_category.values())) for p, s in answers]
        return scores


async def test_with_the_guard_that_ships_only_what_it_judged_safe_leaves():
    """At every offset, what left ends a lookahead before the longest text that the guard called safe, and once it
    flagged a text nothing more left. Nine in ten of these plain threats it does flag, before they left whole."""
    guard = Recorder(load("default"))
    rules = {category: {"threshold": 0.5} for category in guard.covers("output")}
    policy = Policy.model_validate(
        {
            "name": "ships",
            "version": 1,
            "guards": ["default"],
            "deadline_s": 60,
            "lookahead_chars": LOOKAHEAD,
            "output": rules,
        }
    )
    offsets = range(0, len(ANSWER) + 1, 1 if PROVE else 40)
    flagged = 0
    with served(policy, [guard], EchoEngine()) as service:
        for offset in offsets:
            guard.said.clear()
            text = planted(THREAT, offset)
            got = channel_text(await anext(answers(service, [(text, 4)], "content", True)), True, "content")
            safe = [t for t, score in guard.said if score < 0.5]
            unsafe = [t for t, score in guard.said if score >= 0.5]
            assert text.startswith(got)
            assert all(text.startswith(t) for t, _ in guard.said)
            if unsafe:
                flagged += 1
                assert len(unsafe) == 1, "judged again after a refusal"
                assert len(got) <= max((len(t) - LOOKAHEAD for t in safe), default=0), offset
                assert THREAT not in got, offset
            else:
                assert got == text
    assert flagged >= 0.9 * len(offsets), f"{flagged} of {len(offsets)}"
