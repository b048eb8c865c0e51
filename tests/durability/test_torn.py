"""The last record cut at every byte: what a crash in the middle of a write leaves."""

import base64
import os

import orjson

from service.ledger.ledger import SqlLedger
from service.ledger.models import Exchange
from service.ledger.records import frame
from service.ledger.verify import verify
from service.settings import Settings
from tests.store.events import asked, closed, new_id, verdict

EVERY = 1 if os.environ.get("SLUICEGATE_PROVE") else 9  # bytes


def sealed(key, event):
    """As the ledger writes it."""
    wrapped, text = key.wrapped, key.seal(event["id"], event["texts"])
    seal = {"wrapped": base64.b64encode(wrapped).decode(), "text": base64.b64encode(text).decode()}
    body = {name: value for name, value in event.items() if name != "texts"}
    return orjson.dumps(body | {"sealed": seal | {"key_id": key.id, "master_id": key.master_id}})


async def test_a_record_torn_at_any_byte_costs_itself_alone(tmp_path):
    """Adopted by the next start, a file torn in its last record is no damage: what comes before the tear is stored with
    its text, and the exchange, which has no end, as interrupted."""
    settings, ids = Settings(home=tmp_path), []
    ledger = SqlLedger(settings)
    settings.spool.mkdir()
    whole = len(frame(sealed(ledger.store.vault.new_key("x"), closed(new_id(), flagged=True))))
    for number, cut in enumerate(range(0, whole + 1, EVERY)):
        exchange_id = new_id()
        ids.append((exchange_id, cut))
        key = ledger.store.vault.new_key(exchange_id)
        *before, last = [asked(exchange_id), verdict(exchange_id), closed(exchange_id, flagged=True)]
        data = b"".join(frame(sealed(key, event)) for event in before) + frame(sealed(key, last))[:cut]
        (settings.spool / f"dead-{number:06d}.log").write_bytes(data)
    await ledger.start()
    assert await ledger.drain(120)
    finding, stats = await verify(settings.spool, ledger.store), await ledger.stats()
    async with ledger.store.read() as session:
        found = {exchange_id: await session.get(Exchange, exchange_id) for exchange_id, _ in ids}
    texts = [await ledger.store.texts(exchange_id) for exchange_id, _ in ids]
    await ledger.stop()
    assert (stats.damaged_bytes, stats.refused_exchanges, finding.faults) == (0, 0, [])
    assert {(e.flagged, e.outcome) for i, e in found.items() if i != ids[-1][0]} == {(True, "interrupted")}
    assert all(f"{i}:asked" in t and f"{i}:verdict:1" in t for (i, _), t in zip(ids, texts, strict=True))
    assert list(settings.spool.iterdir()) == []
