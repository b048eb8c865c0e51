"""Who may log in to the console. Passwords are argon2id hashes; failures lock an account for longer and longer."""

import asyncio
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy.exc import IntegrityError

from service.gate.exchange import Json
from service.ledger import audit
from service.ledger.desk import SessionRow, UserRow
from service.ledger.store import Store
from service.review.reviewer import Reviewer, ReviewError, Role

SHORTEST: Final = 12  # characters of a password
FREE_FAILURES: Final = 5
LONGEST_LOCK_S: Final = 3600.0
_HASHER: Final = PasswordHasher()  # RFC 9106, second choice: 64 MiB, 3 passes


@dataclass(frozen=True, slots=True)
class User:
    """Times in unix seconds. `preferences` is the console's; `opt_out` in it lists categories not to be served."""

    id: str
    login: str
    name: str
    roles: frozenset[str]
    preferences: Json
    created_at: float
    disabled_at: float | None

    @property
    def reviewer(self) -> Reviewer:
        return Reviewer(self.login, self.roles, frozenset(self.preferences.get("opt_out", ())))


async def create_user(
    store: Store, login: str, password: str, roles: Sequence[str] = ("moderator",), name: str = "", by: str = "cli"
) -> User:
    """Raises ReviewError when the login is taken or anything is wrong."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", login):
        raise ReviewError(f"login {login!r}: 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit")
    _check_roles(roles)
    user = User("usr_" + uuid.uuid4().hex[:16], login, name or login, frozenset(roles), {}, time.time(), None)
    row: Json = {"id": user.id, "login": login, "name": user.name, "password_hash": hashed(password)}
    row |= {"roles": sorted(user.roles), "preferences": {}, "created_at": user.created_at, "disabled_at": None}
    try:
        async with store.write() as connection:
            await connection.execute(sa.insert(UserRow).values(**row, failures=0, locked_until=0.0))
            await audit.append(connection, store.vault, by, "user_create", login, roles=sorted(user.roles))
    except IntegrityError:
        raise ReviewError(f"login {login!r} is taken") from None
    return user


async def authenticate(store: Store, login: str, password: str, now: float | None = None) -> User | None:
    """The user, or None: unknown, disabled, locked or wrong, all alike to the caller and in time.

    An attempt counts as a failure before the password is looked at, so that many at once gain nothing.
    """
    now = time.time() if now is None else now
    row, open_ = await _attempt(store, login, now)
    right = await asyncio.to_thread(_matches, row.password_hash if row else _nobody(), password)
    async with store.write() as connection:
        if row is not None and right and open_:
            fresh = sa.update(UserRow).where(UserRow.id == row.id)
            await connection.execute(fresh.values(failures=0, locked_until=0.0))
        outcome = "unknown" if row is None else "locked" if not open_ else "ok" if right else "wrong"
        who = row.login if row is not None else "unknown"  # not what was typed: it may be a password
        await audit.append(connection, store.vault, who, "login", who, outcome=outcome)
    return user_of(row) if row is not None and right and open_ else None


async def _attempt(store: Store, login: str, now: float) -> tuple[Any, bool]:
    """The row of a login, if there is one, and whether it may try now; counted as a failure until it succeeds."""
    async with store.write() as connection:
        known = sa.select(UserRow.__table__).where(UserRow.login == login).with_for_update()
        row = (await connection.execute(known)).first()
        open_ = row is not None and row.disabled_at is None and row.locked_until <= now
        failures = row.failures + 1 if row is not None else 0
        lock_s = min(2.0 ** (failures - FREE_FAILURES), LONGEST_LOCK_S) if failures >= FREE_FAILURES else 0.0
        counted = sa.update(UserRow).where(UserRow.login == (login if open_ else ""))
        await connection.execute(counted.values(failures=failures, locked_until=now + lock_s))
    return row, open_


async def list_users(store: Store) -> list[User]:
    """By login, those disabled too."""
    async with store.read() as session:
        return [user_of(row) for row in await session.scalars(sa.select(UserRow).order_by(UserRow.login))]


async def find_user(store: Store, login: str) -> User | None:
    async with store.read() as session:
        row = await session.scalar(sa.select(UserRow).where(UserRow.login == login))
    return user_of(row) if row else None


async def disable_user(store: Store, login: str, by: str = "cli") -> None:
    """Ends their sessions too. Their decisions stay. Raises ReviewError."""
    await _change(store, login, by, "user_disable", {"disabled_at": time.time()}, end_sessions=True)


async def set_password(store: Store, login: str, password: str, by: str = "cli") -> None:
    """Ends their sessions and any lock. Raises ReviewError."""
    values = {"password_hash": hashed(password), "failures": 0, "locked_until": 0.0}
    await _change(store, login, by, "user_password", values, end_sessions=True)


async def set_roles(store: Store, login: str, roles: Sequence[str], by: str = "cli") -> None:
    """Raises ReviewError."""
    _check_roles(roles)
    await _change(store, login, by, "user_roles", {"roles": sorted(set(roles))})


async def set_preferences(store: Store, login: str, preferences: Json) -> None:
    """Replaces them all. Raises ReviewError."""
    await _change(store, login, login, "user_preferences", {"preferences": preferences})


async def _change(store: Store, login: str, by: str, action: str, values: Json, end_sessions: bool = False) -> None:
    async with store.write() as connection:
        user_id = await connection.scalar(sa.select(UserRow.id).where(UserRow.login == login))
        if user_id is None:
            raise ReviewError(f"no user {login!r}; logins are in: sluicegate review users list")
        await connection.execute(sa.update(UserRow).where(UserRow.id == user_id).values(**values))
        if end_sessions:
            await connection.execute(sa.delete(SessionRow).where(SessionRow.user_id == user_id))
        detail = {"roles": values["roles"]} if "roles" in values else {}
        await audit.append(connection, store.vault, by, action, login, **detail)


def _check_roles(roles: Sequence[str]) -> None:
    if not roles or (unknown := sorted(set(roles) - set(Role))):
        raise ReviewError(f"roles are of: {', '.join(Role)}" + (f"; not {', '.join(unknown)}" if roles else ""))


def hashed(password: str) -> str:
    if len(password) < SHORTEST:
        raise ReviewError(f"a password has at least {SHORTEST} characters")
    return _HASHER.hash(password)


def _matches(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password)
    except VerificationError:
        return False


@cache
def _nobody() -> str:
    """A hash that nothing matches, so that an unknown login takes as long as a known one."""
    return _HASHER.hash(uuid.uuid4().hex)


def user_of(row: Any) -> User:
    return User(row.id, row.login, row.name, frozenset(row.roles), row.preferences, row.created_at, row.disabled_at)
