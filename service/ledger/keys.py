"""API keys: shown once, stored as a keyed hash, found again within microseconds, revoked within seconds."""

import asyncio
import hmac
import re
import secrets
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from service.gate.exchange import Caller, LedgerUnavailable, Role
from service.ledger.crypto import Vault
from service.ledger.models import ApiKey
from service.ledger.store import Store

FRESH_S: Final = 5.0  # a revocation bites within this time
GRACE_S: Final = 300.0  # how long a key found earlier is good while the database cannot be asked
ASK_S: Final = 2.0  # for one question to the database; behind a cut wire it would take a quarter of an hour
_FORM: Final = re.compile(rf"sg-(?:{'|'.join(Role)})-[A-Za-z0-9_-]{{43}}")


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is known of a key. Times in unix seconds."""

    id: str
    tenant: str
    role: Role
    name: str
    requests_per_minute: int | None
    created_at: float
    revoked_at: float | None = None


class KeyRing:
    """`given` are keys from the settings: token -> caller; they need no database and cannot be revoked."""

    def __init__(
        self,
        store: Store,
        given: Mapping[str, Caller] | None = None,
        cached: int = 4096,
        clock: Callable[[], float] = time.monotonic,
        ask_s: float = ASK_S,
    ) -> None:
        self._store, self._vault, self._cached, self._clock = store, store.vault, cached, clock
        self._given = {_hash(self._vault, token): caller for token, caller in (given or {}).items()}
        self._cache: OrderedDict[str, tuple[float, Caller | None]] = OrderedDict()
        self._asking: set[asyncio.Task[Caller | None]] = set()
        self._silent_until, self._ask_s = float("-inf"), ask_s

    async def create(
        self, tenant: str, role: Role, name: str = "", requests_per_minute: int | None = None
    ) -> tuple[str, KeyRecord]:
        """The key itself, never to be had again, and its record. Raises ValueError, SQLAlchemyError."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", tenant):
            raise ValueError(
                f"tenant {tenant!r}: 1 to 64 letters, digits, '-', '_' or '.', beginning with one of the first"
            )
        if requests_per_minute is not None and requests_per_minute < 1:
            raise ValueError(f"requests per minute {requests_per_minute}: must be 1 or more")
        token = f"sg-{role}-{secrets.token_urlsafe(32)}"
        record = KeyRecord("key_" + uuid.uuid4().hex[:16], tenant, role, name, requests_per_minute, time.time())
        async with self._store.write() as connection:
            values = {field: getattr(record, field) for field in KeyRecord.__slots__}
            await connection.execute(sa.insert(ApiKey).values(hash=_hash(self._vault, token), **values))
        return token, record

    async def list(self) -> list[KeyRecord]:
        """All keys, those revoked too, oldest first."""
        async with self._store.read() as session:
            return [_record(row) for row in await session.scalars(sa.select(ApiKey).order_by(ApiKey.created_at))]

    async def revoke(self, key_id: str, after_s: float = 0.0) -> bool:
        """Ends a key, in `after_s` seconds. False when there is no such key, or it was to end earlier already."""
        ends_at = time.time() + after_s
        async with self._store.write() as connection:
            later = sa.or_(ApiKey.revoked_at.is_(None), ApiKey.revoked_at > ends_at)
            live = sa.update(ApiKey).where(ApiKey.id == key_id, later)
            return bool((await connection.execute(live.values(revoked_at=ends_at))).rowcount)

    async def rotate(self, key_id: str, overlap_s: float) -> tuple[str, KeyRecord] | None:
        """A new key like a live one, which ends after `overlap_s` seconds. None when there is no such live key."""
        old = next((r for r in await self.list() if r.id == key_id and r.revoked_at is None), None)
        if old is None:
            return None
        made = await self.create(old.tenant, old.role, old.name, old.requests_per_minute)
        await self.revoke(key_id, overlap_s)
        return made

    async def lookup(self, token: str) -> Caller | None:
        """Who holds this key; None for nobody. Raises LedgerUnavailable when that cannot be found out."""
        digest = _hash(self._vault, token)
        for given, caller in self._given.items():
            if hmac.compare_digest(given, digest):
                return caller
        if not _FORM.fullmatch(token):
            return None
        found_at, caller_found = self._cache.get(digest, (float("-inf"), None))
        if self._clock() - found_at < FRESH_S:
            return caller_found
        try:
            caller_found = await self._asked(digest)
        except (SQLAlchemyError, OSError) as error:
            if caller_found is not None and self._clock() - found_at < GRACE_S:
                return caller_found
            raise LedgerUnavailable("the key cannot be checked: the database is unreachable") from error
        self._cache[digest] = self._clock(), caller_found
        self._cache.move_to_end(digest)
        if len(self._cache) > self._cached:
            self._cache.popitem(last=False)
        return caller_found

    async def _asked(self, digest: str) -> Caller | None:
        """A question that is not answered in time is left behind: to cancel it would mean to wait for it too.

        Raises:
            TimeoutError, SQLAlchemyError, OSError
        """
        if self._clock() < self._silent_until:
            raise TimeoutError
        asking = asyncio.create_task(self._find(digest))
        self._asking.add(asking)
        asking.add_done_callback(self._answered)
        done, _ = await asyncio.wait({asking}, timeout=self._ask_s)
        if not done:
            self._silent_until = self._clock() + FRESH_S
            raise TimeoutError
        return asking.result()

    def _answered(self, asking: "asyncio.Task[Caller | None]") -> None:
        self._asking.discard(asking)
        if not asking.cancelled():
            asking.exception()  # seen, or asyncio complains of it

    async def _find(self, digest: str) -> Caller | None:
        async with self._store.read() as session:
            live = sa.or_(ApiKey.revoked_at.is_(None), ApiKey.revoked_at > time.time())
            row = await session.scalar(sa.select(ApiKey).where(ApiKey.hash == digest, live))
        if row is None:
            return None
        return Caller(row.id, row.tenant, Role(row.role), row.requests_per_minute)


def _hash(vault: Vault, token: str) -> str:
    return vault.keyed_hash("api_key", token)


def _record(row: ApiKey) -> KeyRecord:
    return KeyRecord(
        row.id, row.tenant, Role(row.role), row.name, row.requests_per_minute, row.created_at, row.revoked_at
    )
