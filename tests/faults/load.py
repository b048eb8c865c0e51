"""Clients that never stop asking, and what they saw."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from tests.faults.engine import CARD
from tests.faults.world import PACE
from tests.gateway import KEY

STREAMS, REFUSALS = 6, 2
PATIENCE_S = 20.0 * PACE
SECRET = "my key is AKIAIOSFODNN7EXAMPLQ, keep it"


@dataclass(slots=True)
class Asked:
    """One request: `outcome` is answered, refused, an error's code, or cut (the connection ended before the answer)."""

    started_s: float
    ended_s: float
    outcome: str

    @property
    def failed(self) -> bool:
        return self.outcome not in ("answered", "refused")


@dataclass
class Seen:
    asked: list[Asked] = field(default_factory=list)
    flagged: set[str] = field(default_factory=set)  # exchanges of which a client saw a refusal or a redaction
    leaked: int = 0
    cuts: list[str] = field(default_factory=list)  # what the connections' ends were called

    def since(self, at_s: float) -> list[Asked]:
        return [a for a in self.asked if a.ended_s >= at_s]

    def told(self, at_s: float) -> Counter:
        return Counter(a.outcome for a in self.since(at_s))

    def normal_s(self, at_s: float) -> float:
        """From `at_s` to the end of the last request that failed."""
        return max((a.ended_s - at_s for a in self.since(at_s) if a.failed), default=0.0)

    def longest_s(self, at_s: float) -> float:
        return max((a.ended_s - a.started_s for a in self.since(at_s)), default=0.0)


@asynccontextmanager
async def asking(url: str, streams: int = STREAMS, refusals: int = REFUSALS) -> AsyncIterator[Seen]:
    """Asks until the block ends; every request on a connection of its own, as through a balancer."""
    seen = Seen()
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
        kinds = [(_stream, "Tell me.")] * streams + [(_whole, SECRET)] * refusals
        tasks = [asyncio.create_task(_on(session, url, seen, ask, text)) for ask, text in kinds]
        try:
            yield seen
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _on(session, url, seen, ask, text) -> None:
    number = 0
    while True:
        number += 1
        started = time.monotonic()
        body = {"model": "m", "stream": ask is _stream, "messages": [{"role": "user", "content": f"{number} {text}"}]}
        try:
            async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                outcome = await ask(response, seen)
        except TimeoutError:
            outcome = "timeout"
        except (aiohttp.ClientError, OSError) as error:
            outcome = "cut"
            seen.cuts.append(type(error).__name__)
        seen.asked.append(Asked(started, time.monotonic(), outcome))
        await asyncio.sleep(0.3 if outcome not in ("answered", "refused") else 0.05)


async def _whole(response: aiohttp.ClientResponse, seen: Seen) -> str:
    answer = await response.json()
    if response.status == 400:
        seen.flagged.add(answer["error"]["sluicegate"]["exchange_id"])
        return "refused"
    return answer["error"]["code"] if "error" in answer else "answered"


async def _stream(response: aiohttp.ClientResponse, seen: Seen) -> str:
    if response.status != 200:
        return (await response.json())["error"]["code"]
    text, outcome = "", "cut"
    try:
        async for line in response.content:
            if not line.startswith(b"data: "):
                continue
            if line.startswith(b"data: [DONE]"):
                outcome = "answered"
                break
            event = json.loads(line[6:])
            if "error" in event:
                outcome = event["error"]["code"]
                break
            text += "".join(c["delta"].get("content") or "" for c in event["choices"])
    finally:
        seen.leaked += CARD[:9] in text
        if "a good deal" in text:  # beyond the redaction
            seen.flagged.add(response.headers["x-sluicegate-exchange"])
    return outcome
