"""Load on a running service, as its callers would bring it: so many streams at once, and what each of them saw."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import numpy as np
import orjson

PROMPTS: Final = (
    "Explain in simple words why the sky is blue.",
    "Write a short poem about the first day of spring.",
    "How do I store fresh basil so that it keeps for a week?",
    "Give me three ideas for a rainy afternoon with children.",
    "What is the difference between a list and a tuple in Python?",
    "Draft a polite e-mail that asks for a day off.",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """`rate`: requests begun a second, over all streams; 0: each stream asks again as soon as it was answered."""

    url: str
    key: str
    model: str
    streams: int = 8
    duration_s: float = 30.0
    rate: float = 0.0
    max_tokens: int = 64
    prompts: Sequence[str] = PROMPTS


@dataclass(slots=True)
class Seen:
    """One request. Times in seconds after it was sent; `outcome`: ok, or what came instead."""

    outcome: str
    first_s: float | None = None
    end_s: float = 0.0
    chars: int = 0
    tokens: int = 0


@dataclass(slots=True)
class Load:
    """What all requests saw."""

    plan: Plan
    seen: list[Seen] = field(default_factory=list)
    wall_s: float = 0.0

    @property
    def outcomes(self) -> Counter[str]:
        return Counter(one.outcome for one in self.seen)

    def document(self) -> dict[str, Any]:
        answered = [one for one in self.seen if one.outcome == "ok"]
        return {
            "streams": self.plan.streams,
            "seconds": round(self.wall_s, 2),
            "requests": len(self.seen),
            "outcomes": dict(self.outcomes),
            "requests_per_s": round(len(self.seen) / self.wall_s, 2) if self.wall_s else 0.0,
            "tokens_per_s": round(sum(one.tokens for one in answered) / self.wall_s, 1) if self.wall_s else 0.0,
            "first_content_s": _quantiles([one.first_s for one in answered if one.first_s is not None]),
            "answer_s": _quantiles([one.end_s for one in answered]),
        }


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    """Linear interpolation, as NumPy's; empty without values."""
    return {f"p{q}": round(float(np.percentile(values, q)), 4) for q in (50, 90, 95, 99)} if values else {}


async def load(plan: Plan, told: Callable[[Load, float], None] = lambda _load, _s: None) -> Load:
    """Asks until the time is up, then lets open answers end. `told` hears once a second how it goes."""
    found, begun = Load(plan), time.perf_counter()
    turns = _turns(plan, begun)
    connector = aiohttp.TCPConnector(limit=plan.streams)
    headers = {"Authorization": f"Bearer {plan.key}"}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=120)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:

        async def stream() -> None:
            async for number in turns():
                found.seen.append(await _ask(session, plan, number))

        async def tell() -> None:
            while True:
                await asyncio.sleep(1)
                told(found, time.perf_counter() - begun)

        telling = asyncio.create_task(tell())
        try:
            await asyncio.gather(*(stream() for _ in range(plan.streams)))
        finally:
            telling.cancel()
    found.wall_s = time.perf_counter() - begun
    return found


def _turns(plan: Plan, begun: float) -> Callable[[], AsyncIterator[int]]:
    """Numbers of requests, for all streams together, each when it is due."""
    count = 0

    async def turns() -> AsyncIterator[int]:
        nonlocal count
        while (now := time.perf_counter() - begun) < plan.duration_s:
            number, count = count, count + 1
            if plan.rate and (wait_s := number / plan.rate - now) > 0:
                if number / plan.rate >= plan.duration_s:
                    return
                await asyncio.sleep(wait_s)
            yield number

    return turns


async def _ask(session: aiohttp.ClientSession, plan: Plan, number: int) -> Seen:
    messages = [{"role": "user", "content": plan.prompts[number % len(plan.prompts)]}]
    body = {"model": plan.model, "messages": messages, "max_tokens": plan.max_tokens, "stream": True}
    body |= {"stream_options": {"include_usage": True}}
    sent = time.perf_counter()
    try:
        async with session.post(f"{plan.url}/v1/chat/completions", json=body) as answer:
            if answer.status != 200:
                error = orjson.loads(await answer.read()).get("error", {})
                return Seen(str(error.get("code") or answer.status), end_s=time.perf_counter() - sent)
            return await _read(answer, sent)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return Seen(type(error).__name__, end_s=time.perf_counter() - sent)


async def _read(answer: aiohttp.ClientResponse, sent: float) -> Seen:
    seen = Seen("cut off")  # until the end was seen
    async for line in answer.content:
        if not line.startswith(b"data: "):
            continue
        if line.startswith(b"data: [DONE]"):
            seen.outcome = "ok" if seen.outcome == "cut off" else seen.outcome
            break
        event = orjson.loads(line[6:])
        if "error" in event:
            seen.outcome = str(event["error"].get("code") or "error")
            break
        for choice in event.get("choices", ()):
            if text := (choice.get("delta") or {}).get("content"):
                seen.first_s = time.perf_counter() - sent if seen.first_s is None else seen.first_s
                seen.chars += len(text)
            if choice.get("finish_reason") == "content_filter":
                seen.outcome = "content_filter"
        seen.tokens = (event.get("usage") or {}).get("completion_tokens", seen.tokens)
    seen.end_s = time.perf_counter() - sent
    return seen
