"""Sessions of the console: a token in a cookie, its keyed hash in the database, an end that moves with use."""

import secrets
import time
from typing import Final

import sqlalchemy as sa

from service.ledger.desk import SessionRow, UserRow
from service.ledger.store import Store
from service.review.users import User, user_of

IDLE_S: Final = 3600.0
LONGEST_S: Final = 12 * 3600.0  # a shift; then one logs in again
_TOUCH_S: Final = 60.0  # a session in use is not written at every request


async def open_session(store: Store, user: User, now: float | None = None) -> str:
    """A new token; whatever was in the cookie before is worth nothing (no fixation)."""
    now, token = time.time() if now is None else now, secrets.token_urlsafe(32)
    row = {"id": _id(store, token), "user_id": user.id, "created_at": now, "seen_at": now, "expires_at": now + IDLE_S}
    async with store.write() as connection:
        await connection.execute(sa.delete(SessionRow).where(SessionRow.expires_at < now))
        await connection.execute(sa.insert(SessionRow).values(**row))
    return token


async def session_user(store: Store, token: str, now: float | None = None) -> User | None:
    """Whose session it is; None when it ended, or they were disabled. Extends it."""
    now = time.time() if now is None else now
    query = sa.select(SessionRow, UserRow).join(UserRow, UserRow.id == SessionRow.user_id)
    query = query.where(SessionRow.id == _id(store, token), SessionRow.expires_at > now, UserRow.disabled_at.is_(None))
    async with store.read() as session:
        if (found := (await session.execute(query)).first()) is None:
            return None
    row: SessionRow = found[0]
    if now - row.seen_at > _TOUCH_S:
        ends = min(now + IDLE_S, row.created_at + LONGEST_S)
        async with store.write() as connection:
            change = sa.update(SessionRow).where(SessionRow.id == row.id)
            await connection.execute(change.values(seen_at=now, expires_at=ends))
    return user_of(found[1])


async def close_session(store: Store, token: str) -> None:
    """Without effect when it ended already."""
    async with store.write() as connection:
        await connection.execute(sa.delete(SessionRow).where(SessionRow.id == _id(store, token)))


def _id(store: Store, token: str) -> str:
    return store.vault.keyed_hash("session", token)
