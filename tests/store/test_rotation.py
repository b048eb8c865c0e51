"""Keys are rotated while they are in use: texts, callers and hashes stay."""

import asyncio
import base64
import os

import pytest
import sqlalchemy as sa

from service.gate.exchange import Role
from service.ledger import rekey as rekeying
from service.ledger.crypto import SealError, Vault
from service.ledger.keys import KeyRing
from service.ledger.models import ContentKey
from service.ledger.rekey import rekey
from service.ledger.store import Store
from tests.store.events import SECRET, flagged, new_id


async def test_texts_open_after_their_keys_were_wrapped_anew(running, settings, monkeypatch):
    """Ended half-way and run again, a rotation leaves every text readable by the new key, and no key under the old."""
    monkeypatch.setattr(rekeying, "AT_ONCE", 2)
    exchanges = [new_id() for _ in range(5)]
    async with running() as ledger:
        for exchange in exchanges:
            for event in flagged(exchange):
                await ledger.commit(event)
        await ledger.drain(20)
    old = (settings.home / "master.key").read_text()
    masters = [os.urandom(32), *_keys(old)]
    store = Store(settings.database, Vault(masters))
    try:
        *_, last = await _wrapped(store)
        await _say(store, last.id, "?")  # a key that was not given stops it, after what came before
        with pytest.raises(SealError, match="not among"):
            await rekey(store, "test")
        assert store.vault.master_id in {row.master_id for row in await _wrapped(store)}
        await _say(store, last.id, last.master_id)
        await rekey(store, "test")
        assert {row.master_id for row in await _wrapped(store)} == {store.vault.master_id}
        assert await rekey(store, "test") == 0
        for exchange in exchanges:
            assert SECRET in str(await store.texts(exchange))
        alone = Store(settings.database, Vault(masters[:1]))
        assert SECRET in str(await alone.texts(exchanges[0]))
        await alone.close()
    finally:
        await store.close()


async def test_a_rotated_key_overlaps_with_its_successor(store):
    """After `rotate` both keys are the same caller's until the overlap is over, then only the new one is good."""
    ring = KeyRing(store)
    old, record = await ring.create("acme", Role.CLIENT, "website", requests_per_minute=30)
    new, made = await ring.rotate(record.id, overlap_s=0.3)
    assert (made.tenant, made.role, made.requests_per_minute) == ("acme", Role.CLIENT, 30)
    assert (await KeyRing(store).lookup(old)).tenant == (await KeyRing(store).lookup(new)).tenant == "acme"
    await asyncio.sleep(0.4)
    assert await KeyRing(store).lookup(old) is None
    assert await KeyRing(store).lookup(new)
    assert await ring.rotate(record.id, overlap_s=0.3) is None


async def test_a_key_that_is_to_end_can_be_ended_at_once(store):
    """Who rotated a leaked key with a long overlap can still revoke it now; the end is never put off."""
    ring = KeyRing(store)
    old, record = await ring.create("acme", Role.CLIENT)
    await ring.rotate(record.id, overlap_s=3600)
    assert not await ring.revoke(record.id, after_s=7200)
    assert await ring.revoke(record.id)
    assert await KeyRing(store).lookup(old) is None


def _keys(text):
    return [base64.b64decode(word) for word in text.split()]


async def _wrapped(store):
    async with store.read() as session:
        return (await session.execute(sa.select(ContentKey.id, ContentKey.master_id).order_by(ContentKey.id))).all()


async def _say(store, key_id, master_id):
    async with store.write() as connection:
        await connection.execute(sa.update(ContentKey).where(ContentKey.id == key_id).values(master_id=master_id))
