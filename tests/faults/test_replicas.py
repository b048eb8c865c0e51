"""Two gateways that share a PostgreSQL are one service: keys, leases of review, and the policy they say is in force."""

import asyncio
import os
import time

import aiohttp
import pytest

from service.gate.exchange import Role
from service.ledger.crypto import vault
from service.ledger.keys import ASK_S, FRESH_S, KeyRing
from service.ledger.store import Store
from tests.faults.load import asking
from tests.faults.world import PACE, World

PROVE = bool(os.environ.get("SLUICEGATE_PROVE"))
TENANT = "default"


class Both:
    """The two gateways, each asked directly."""

    def __init__(self, world: World, session: aiohttp.ClientSession) -> None:
        self._urls, self._session = [f"http://127.0.0.1:{port}" for port in world.gateway_ports], session

    async def ask(self, method: str, path: str, key: str, **body) -> list[tuple[int, dict]]:
        """Status and answer of each, one after the other."""
        headers, found = {"Authorization": f"Bearer {key}"}, []
        for url in self._urls:
            async with self._session.request(
                method, url + path, headers=headers, json=body if method == "POST" else None
            ) as response:
                found.append((response.status, await response.json()))
        return found


async def test_what_is_shared(world):
    """A key holds and ends at both; an item under review at one is not given out by the other; they name one policy."""
    store = Store(world.direct_url, vault(world.home, world.master))
    keys = KeyRing(store)
    async with asking(world.url, streams=0, refusals=1) as seen:
        async with asyncio.timeout(60 * PACE):
            while len(seen.flagged) < 3:
                await asyncio.sleep(0.1)
    assert await world.kept(seen.flagged) >= 3
    async with aiohttp.ClientSession() as session:
        both = Both(world, session)
        people = [await keys.create(TENANT, Role.MODERATOR, name) for name in ("ada", "bob")]
        for token, _ in people:
            assert [status for status, _ in await both.ask("GET", "/v1/review/counts", token)] == [200, 200]
        (_, first), (_, again) = await both.ask("POST", "/v1/review/next", people[0][0])
        (_, other), (_, other_again) = await both.ask("POST", "/v1/review/next", people[1][0])
        assert first["item"]["id"] == again["item"]["id"]
        assert other["item"]["id"] == other_again["item"]["id"] != first["item"]["id"]

        operator, record = await keys.create(TENANT, Role.OPERATOR, "for coverage")
        digests = {answer["policy"]["digest"] for _, answer in await both.ask("GET", "/v1/coverage", operator)}
        assert len(digests) == 1
        await keys.revoke(record.id)
        revoked_at = time.monotonic()
        while [status for status, _ in await both.ask("GET", "/v1/coverage", operator)] != [401, 401]:
            assert time.monotonic() < revoked_at + 6 * PACE
            await asyncio.sleep(0.2)
    await store.close()


@pytest.mark.skipif(not PROVE, reason="full counts: SLUICEGATE_PROVE=1")
async def test_keys_outlive_the_silence_of_the_database(world):
    """While the database says nothing a known key is good, of an unknown one it is soon said that it cannot be told."""
    store = Store(world.direct_url, vault(world.home, world.master))
    known, _ = await KeyRing(store).create(TENANT, Role.OPERATOR, "known")
    unknown, _ = await KeyRing(store).create(TENANT, Role.OPERATOR, "not asked before")
    await store.close()
    async with aiohttp.ClientSession() as session:
        both = Both(world, session)
        assert [status for status, _ in await both.ask("GET", "/v1/coverage", known)] == [200, 200]
        world.to_database.set("silent")
        try:
            await asyncio.sleep(FRESH_S + 1)
            async with asyncio.timeout(2 * ASK_S + 4 * PACE):
                assert [status for status, _ in await both.ask("GET", "/v1/coverage", known)] == [200, 200]
                assert [status for status, _ in await both.ask("GET", "/v1/coverage", unknown)] == [503, 503]
        finally:
            world.to_database.set("open")
