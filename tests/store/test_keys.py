import asyncio
import re
import time
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa

from service.gate.exchange import Caller, LedgerUnavailable, Role
from service.ledger.keys import KeyRing


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


async def test_a_key_lives_from_creation_to_revocation(store):
    """A key is found with its tenant, role and rate; once revoked it is refused after 5 seconds at the latest."""
    clock = Clock()
    ring = KeyRing(store, clock=clock)
    token, record = await ring.create("acme", Role.CLIENT, "website", requests_per_minute=30)
    assert re.fullmatch(r"sg-client-[A-Za-z0-9_-]{43}", token)
    assert await ring.lookup(token) == Caller(record.id, "acme", Role.CLIENT, 30)
    assert await ring.list() == [record]
    assert await ring.revoke(record.id)
    assert not await ring.revoke(record.id)
    assert await ring.lookup(token) is not None  # still fresh in this process
    clock.now += 5.1
    assert await ring.lookup(token) is None
    assert (await ring.list())[0].revoked_at
    assert await KeyRing(store).lookup(token) is None


async def test_only_a_keyed_hash_is_stored(store):
    """Nothing in the database lets anybody use, or test guesses of, a key without the master key."""
    token, _ = await KeyRing(store).create("acme", Role.ADMIN)
    async with store.read() as session:
        (row,) = (await session.execute(sa.text("SELECT * FROM api_keys"))).mappings()
    assert token not in str(dict(row))
    assert token.removeprefix("sg-admin-") not in str(dict(row))
    assert row["hash"] == store.vault.keyed_hash("api_key", token)


async def test_unknown_tokens_find_nobody_and_fill_nothing(store):
    """Wrong keys are refused, malformed ones without asking the database, and the cache of misses has an end."""
    ring = KeyRing(store, cached=10)
    for n in range(30):
        assert await ring.lookup(f"sg-client-{n:043}") is None
    assert len(ring._cache) == 10
    for token in (
        "",
        "x",
        "sg-root-" + "a" * 43,
        "sg-client-" + "a" * 44,
        "sg-client-\udcff",
        "sg-client-é" + "a" * 42,
    ):
        assert await ring.lookup(token) is None
    assert len(ring._cache) == 10


async def test_keys_of_the_settings_need_no_database(store):
    """Keys from the environment have any form and work while the database is away; others are then not refused as
    wrong, but answered with an error to try again."""
    caller = Caller("key_client", "default", Role.CLIENT)
    ring = KeyRing(store, {"my own key": caller})
    token, record = await ring.create("acme", Role.OPERATOR)
    known = await ring.lookup(token)
    async with store.write() as connection:
        await connection.execute(sa.text("ALTER TABLE api_keys RENAME TO gone"))
    assert await ring.lookup("my own key") == caller
    assert await ring.lookup("my own kex") is None
    with pytest.raises(LedgerUnavailable, match="database"):
        await KeyRing(store).lookup(token)
    assert known
    assert known.key_id == record.id


async def test_a_known_key_outlives_an_outage_of_the_database(store):
    """While the database is away a key that was found before stays good for five minutes, and no longer."""
    clock = Clock()
    ring = KeyRing(store, clock=clock)
    token, _ = await ring.create("acme", Role.CLIENT)
    caller = await ring.lookup(token)
    async with store.write() as connection:
        await connection.execute(sa.text("ALTER TABLE api_keys RENAME TO gone"))
    clock.now += 60
    assert await ring.lookup(token) == caller
    clock.now += 241
    with pytest.raises(LedgerUnavailable):
        await ring.lookup(token)


async def test_a_silent_database_keeps_no_request_waiting(store):
    """Behind a cut wire a known key is good at once again, and of an unknown one it is said in time that it is not."""
    clock, silent = Clock(), asyncio.Event()

    class Silent:
        """A store whose questions are never answered once `silent` is set."""

        vault, write = store.vault, store.write

        @asynccontextmanager
        async def read(self):
            if silent.is_set():
                await asyncio.Event().wait()
            async with store.read() as session:
                yield session

    ring = KeyRing(Silent(), clock=clock, ask_s=1.0)
    token, _ = await ring.create("acme", Role.CLIENT)
    caller = await ring.lookup(token)
    silent.set()
    clock.now += 6
    async with asyncio.timeout(10):
        assert await ring.lookup(token) == caller
        with pytest.raises(LedgerUnavailable):
            await ring.lookup(token[:-1] + ("a" if token[-1] != "a" else "b"))
    began = time.perf_counter()
    assert await ring.lookup(token) == caller
    assert time.perf_counter() - began < 0.5
    silent.clear()
    clock.now += 6
    assert await ring.lookup(token) == caller


async def test_a_key_needs_a_sound_tenant_and_rate(store):
    """Bad input makes no key."""
    ring = KeyRing(store)
    for tenant, rate in (("", None), ("a b", None), ("-a", None), ("a" * 65, None), ("acme", 0)):
        with pytest.raises(ValueError, match=r"tenant|requests per minute"):
            await ring.create(tenant, Role.CLIENT, requests_per_minute=rate)
    assert await ring.list() == []
