"""The ledger that the pipeline writes to: sealed, spooled, then carried to the database."""

import asyncio
import base64
import contextlib
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
        self.spool = spool = spool or Spool(settings.spool, limit_bytes=settings.spool_limit_mb << 20)
        self._marks_key = bytes.fromhex(store.vault.keyed_hash("marks", ""))
        self._keys: dict[str, DataKey | None] = {}  # of exchanges under way; None: their texts are not stored
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
        self.spool.append(self._payload(event))

    async def commit(self, event: Json) -> None:
        """Returns when the event and all before it are durable. Raises LedgerUnavailable."""
        await self.spool.commit(self._payload(event))

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
        return await self._shipper.stats()

    def _payload(self, event: Json) -> bytes:
        exchange_id, event_id = event["exchange_id"], event["id"]
        body: dict[str, Any] = {name: value for name, value in event.items() if name != "texts"}
        if event["event"] == "asked":
            self.spool.check()
            self._keys[exchange_id] = self.store.vault.new_key(exchange_id) if _texts_stored(event) else None
            if (subject := event.get("subject")) is not None:
                body["subject"] = self.store.vault.keyed_hash(f"subject/{event['tenant']}", subject)
        key = self._keys.get(exchange_id)
        if event["event"] == "closed":
            self._keys.pop(exchange_id, None)
        if key is not None and event.get("texts"):
            body["sealed"] = _sealed(key, event_id, event["texts"])
            if event["event"] == "verdict" and event.get("flagged", True):
                body["marks"] = marks(event["texts"].get("judged", ""), self._marks_key, event["stage"])
        return orjson.dumps(body)


def open_store(settings: Settings) -> Store:
    """The database of an installation; `ready` comes next. Raises SealError."""
    master_key = settings.master_key.get_secret_value() if settings.master_key else None
    used = any(settings.home.glob("*.db")) or any(settings.spool.glob("*.log"))
    return Store(settings.database, vault(settings.home, master_key, used))


def _texts_stored(asked: Json) -> bool:
    return asked["store"] in ("flagged", "sampled")


def _sealed(key: DataKey, event_id: str, texts: Any) -> Json:
    return {
        "key_id": key.id,
        "master_id": key.master_id,
        "wrapped": base64.b64encode(key.wrapped).decode(),
        "text": base64.b64encode(key.seal(event_id, texts)).decode(),
    }
