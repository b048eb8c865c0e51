"""`kill -9` of the real gateway at random moments under load: what a client saw flagged is in the ledger."""

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bench import report
from service.ledger.ledger import open_store
from service.settings import Settings
from tests.durability.nursery import Nursery
from tests.gateway import KEY, environment, gateway, wire

PROVE = bool(os.environ.get("SLUICEGATE_PROVE"))
KILLS = 200 if PROVE else 20
CLIENTS = 8
LONGEST_S = 240
STOOD_STILL = 503  # the machine did, past a deadline; nothing was said, the client asks again
CARD = "4111 1111 1111 1111"
TEXT = f"Certainly, here is a card number: {CARD}, and here is a good deal of text after it. " * 2
POLICY = """
name: kill
version: 1
guards: [patterns]
deadline_s: 60
first_segment_chars: 4
lookahead_chars: 8
most_segment_chars: 32
input: {secret: {action: refuse}}
output: {card: {action: flag}}
"""


@dataclass
class Seen:
    """What clients got to see of flagged exchanges."""

    refused: set[str] = field(default_factory=set)
    delivered: set[str] = field(default_factory=set)
    clean: int = 0


async def refusals(session: aiohttp.ClientSession, url: str, seen: Seen) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "my key is AKIAIOSFODNN7EXAMPLQ, keep it"}]}
    while True:
        async with session.post(f"{url}/v1/chat/completions", json=body) as response:
            answer = await response.json()
            assert response.status in (400, STOOD_STILL), answer
            if response.status == 400:
                seen.refused.add(answer["error"]["sluicegate"]["exchange_id"])


async def flagged_streams(session: aiohttp.ClientSession, url: str, seen: Seen) -> None:
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "A card number, please."}]}
    while True:
        async with session.post(f"{url}/v1/chat/completions", json=body) as response:
            if response.status == STOOD_STILL:
                continue
            assert response.status == 200
            exchange_id, text = response.headers["x-sluicegate-exchange"], ""
            async for line in response.content:
                if line.startswith(b"data: {"):
                    for choice in json.loads(line[6:])["choices"]:
                        text += choice["delta"].get("content") or ""
                if CARD[:16] in text:  # a part of what was flagged
                    seen.delivered.add(exchange_id)
            seen.clean += 1


def ready(log: Path) -> str | None:
    """The URL of a gateway that says it is."""
    found = log.exists() and re.search(r"is ready: (http://[\d.:]+)", log.read_text())
    return found.group(1) if found else None


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < deadline, "nothing happens"
        await asyncio.sleep(0.01)


async def until_killed(nursery: Nursery, home: Path, settings: dict[str, str], seen: Seen, moment_s: float) -> None:
    """A gateway under load, killed so long after clients saw a refusal and a part of what was flagged."""
    log = home.with_name("said")
    log.unlink(missing_ok=True)
    pid = await nursery.born(environment(home, **settings), str(log))
    await until(lambda: ready(log))
    url, refused, delivered = ready(log), len(seen.refused), len(seen.delivered)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
        kinds = [refusals, flagged_streams] * (CLIENTS // 2)
        tasks = [asyncio.create_task(kind(session, url, seen)) for kind in kinds]
        await until(lambda: len(seen.refused) > refused and len(seen.delivered) > delivered)
        await asyncio.sleep(moment_s)
        await nursery.kill(pid)
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, (aiohttp.ClientError, ConnectionError, ValueError)), result


async def stored(home: Path) -> tuple[dict[str, str], set[str]]:
    """Of each flagged exchange in the database all its text; and those that have a blocking verdict."""
    import sqlalchemy as sa

    from service.ledger.models import Exchange, VerdictRow

    store = open_store(Settings(home=home))
    try:
        async with store.read() as session:
            flagged = list(await session.scalars(sa.select(Exchange.id).where(Exchange.flagged)))
            blocked = set(await session.scalars(sa.select(VerdictRow.exchange_id).where(VerdictRow.blocked)))
        return {i: json.dumps(await store.texts(i)) for i in flagged}, blocked
    finally:
        await store.close()


async def test_what_was_seen_flagged_survives_kill_9(tmp_path: Path):
    """Every refusal a client saw, and every flagged text of which a part was delivered, is in the ledger with text."""
    policy, home, seen, dice = tmp_path / "policy.yaml", tmp_path / "home", Seen(), random.Random(7)
    policy.write_text(POLICY)
    async with wire(TEXT) as engine:
        settings = {"policy": str(policy), "engine_url": engine}
        with contextlib.closing(Nursery("tests.durability.gateways")) as nursery:
            for number in range(KILLS):
                await until_killed(nursery, home, settings, seen, dice.uniform(0, 0.5))
                print(f"kill {number + 1}/{KILLS}: {len(seen.refused)} refusals, {len(seen.delivered)} deliveries")
        async with gateway(home, **settings) as (process, _):  # adopts what the dead left
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 60) == 0
    texts, blocked = await stored(home)
    assert len(seen.refused) >= KILLS
    assert len(seen.delivered) >= KILLS
    assert seen.refused - blocked == set()
    assert seen.refused | seen.delivered <= texts.keys()
    assert all("AKIAIOSFODNN7EXAMPLQ" in texts[i] for i in seen.refused)
    assert all(CARD in texts[i] for i in seen.delivered)
    if PROVE:
        seen_flagged = {"kills": KILLS, "refusals_seen": len(seen.refused), "deliveries_seen": len(seen.delivered)}
        report.write("kill", "make prove (tests/durability/test_kill.py)", seen_flagged | {"lost": 0})
