"""The ledger that the pipeline writes to: sealed, spooled, then carried to the database.

When room runs short, clean samples are given up first: what is left is for what was flagged (docs/decisions/018).
"""

import asyncio
import base64
import contextlib
from dataclasses import replace
from typing import Any

import orjson
import structlog
from sqlalchemy.exc import SQLAlchemyError

from service.gate.exchange import Json
from service.ledger.crypto import DataKey, vault
from service.ledger.likeness import marks
from service.ledger.shipper import Shipper, Stats
from service.ledger.spool import Spool
from service.ledger.store import Store
from service.settings import Settings

log = structlog.get_logger(__name__)


class SqlLedger:
    """Implements `gate.exchange.Ledger`. `start` and `stop` once, on the loop that appends. Raises SealError."""

    def __init__(self, settings: Settings, spool: Spool | None = None) -> None:
        self.store = store = open_store(settings)
        limits = settings.spool_limit_mb << 20, settings.spool_reserve_mb << 20
        self.spool = spool = spool or Spool(settings.spool, *limits)
        self._marks_key = bytes.fromhex(store.vault.keyed_hash("marks", ""))
        self._keys: dict[str, DataKey | None] = {}  # of exchanges under way; None: their texts are not stored
        self._held: dict[str, Json] = {}  # `asked` of exchanges begun when room was short; written if they are flagged
        self._shed = 0
        self._shipper = Shipper(spool, store)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Adopts what dead processes left and begins to ship. The database may be away.

        Raises:
            LedgerUnavailable: the spool cannot be written.
            StoreError: the tables are not of this version.
        """
        try:
            await self.store.ready()
        except (SQLAlchemyError, OSError) as error:
            log.error("database_unreachable", error=type(error).__name__)
        await self.spool.start()
        self._task = asyncio.create_task(self._shipper.run(), name="shipper")

    def append(self, event: Json) -> None:
        """Puts an event in order. Raises LedgerUnavailable; `asked` also when the disk fails: then do not begin."""
        for payload in self._payloads(event):
            self.spool.append(payload)

    async def commit(self, event: Json) -> None:
        """Returns when the event and all before it are durable. Raises LedgerUnavailable."""
        *before, payload = self._payloads(event)
        for earlier in before:
            self.spool.append(earlier)
        await self.spool.commit(payload)

    async def drain(self, timeout_s: float) -> bool:
        """Waits until what was written is in the database. False when the time is over; the spool keeps the rest."""
        return await self._shipper.drain(timeout_s)

    async def stop(self, timeout_s: float = 5) -> None:
        """Makes everything durable, ships what can be shipped in time, lets the files go."""
        await self.spool.stop()
        await self.drain(timeout_s)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._shipper.discard()
        self.spool.release()
        await self.store.close()

    @property
    def writable(self) -> bool:
        """Whether a new exchange may begin."""
        return self.spool.writable

    async def stats(self) -> Stats:
        return replace(await self._shipper.stats(), shed_exchanges=self._shed)

    def _payloads(self, event: Json) -> list[bytes]:
        """The event's bytes, behind those of a text that was held back and is wanted now."""
        if event["event"] == "asked":
            return [self._begun(event)]
        exchange_id, payloads = event["exchange_id"], []
        closing = event["event"] == "closed"
        key = self._keys.pop(exchange_id, None) if closing else self._keys.get(exchange_id)
        if _flagging(event) and (asked := self._held.pop(exchange_id, None)) is not None:
            late = {"event": "texts", "id": f"{exchange_id}:texts", "of": asked["id"], "exchange_id": exchange_id}
            payloads.append(_payload(late | {"at": event["at"]}, key, asked["texts"]))
        held = self._held.pop(exchange_id, None) is not None if closing else False
        if closing and event.get("texts") and not _flagging(event) and (held or self.spool.short):
            self._shed += 1
            return [*payloads, _payload(event | {"shed": True}, None)]
        return [*payloads, _payload(event | self._marks(event, key), key, event.get("texts"))]

    def _begun(self, asked: Json) -> bytes:
        self.spool.check()
        exchange_id, vault = asked["exchange_id"], self.store.vault
        key = self._keys[exchange_id] = vault.new_key(exchange_id) if _texts_stored(asked) else None
        subject = asked.get("subject")
        if subject is not None:
            subject = vault.keyed_hash(f"subject/{asked['tenant']}", subject)
        if key is not None and self.spool.short:
            self._held[exchange_id] = asked
            key = None
        return _payload(asked | {"subject": subject}, key, asked.get("texts"))

    def _marks(self, event: Json, key: DataKey | None) -> Json:
        if key is None or event["event"] != "verdict" or not _flagging(event):
            return {}
        return {"marks": marks(event.get("texts", {}).get("judged", ""), self._marks_key, event["stage"])}


def open_store(settings: Settings) -> Store:
    """The database of an installation; `ready` comes next. Raises SealError."""
    master_key = settings.master_key.get_secret_value() if settings.master_key else None
    used = any(settings.home.glob("*.db")) or any(settings.spool.glob("*.log"))
    return Store(settings.database, vault(settings.home, master_key, used))


def _texts_stored(asked: Json) -> bool:
    return asked["store"] in ("flagged", "sampled")


def _flagging(event: Json) -> bool:
    """Whether the event is one for which the texts of its exchange are kept."""
    return event.get("flagged", event["event"] == "verdict") or event.get("outcome") == "interrupted"


def _payload(event: Json, key: DataKey | None, texts: Any = None) -> bytes:
    """The event as it is written: its text sealed, or left out."""
    body = {name: value for name, value in event.items() if name != "texts"}
    if key is not None and texts:
        body["sealed"] = _sealed(key, event["of"] if "of" in event else event["id"], texts)
    return orjson.dumps(body)


def _sealed(key: DataKey, event_id: str, texts: Any) -> Json:
    return {
        "key_id": key.id,
        "master_id": key.master_id,
        "wrapped": base64.b64encode(key.wrapped).decode(),
        "text": base64.b64encode(key.seal(event_id, texts)).decode(),
    }
