"""Users whom an identity provider vouches for. Who they are is the provider and its subject, and nothing else:

an address or a name in a token links to no account, so nobody becomes somebody else by claiming theirs.
"""

import hashlib
import re
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa

from service.gate.exchange import Json
from service.ledger import audit
from service.ledger.desk import UserRow
from service.ledger.store import Store
from service.review.reviewer import Forbidden, Role
from service.review.users import User, hashed, user_of


def roles_of(claimed: object, mapping: Mapping[str, str]) -> list[str]:
    """Roles by the values of a claim (one, or a list of them); a role that is none is left out. Pure."""
    values: Iterable[object] = claimed if isinstance(claimed, list | tuple) else (claimed,)
    given = {mapping[value] for value in values if isinstance(value, str) and value in mapping}
    return sorted(given & set(Role))


async def vouched(store: Store, issuer: str, subject: str, name: str, roles: Sequence[str]) -> User:
    """The user of a subject, made at the first time; their roles are the provider's word at each login.

    Raises Forbidden: the provider gives them no role here, or they were disabled.
    """
    user_id = "usr_" + hashlib.sha256(f"{issuer}\n{subject}".encode()).hexdigest()[:32]
    async with store.write() as connection:
        known = (await connection.execute(sa.select(UserRow.__table__).where(UserRow.id == user_id))).first()
        if known is not None and known.disabled_at is not None:
            await audit.append(connection, store.vault, known.login, "login", known.login, outcome="disabled")
        elif roles and known is None:
            row = _row(user_id, name, roles)
            await connection.execute(sa.insert(UserRow).values(**row))
            await audit.append(connection, store.vault, "oidc", "user_create", row["login"], roles=list(roles))
        elif known is not None and sorted(known.roles) != list(roles):
            change = sa.update(UserRow).where(UserRow.id == user_id)
            await connection.execute(change.values(roles=list(roles)))
            await audit.append(connection, store.vault, "oidc", "user_roles", known.login, roles=list(roles))
        row_now = (await connection.execute(sa.select(UserRow.__table__).where(UserRow.id == user_id))).first()
        admitted = row_now is not None and row_now.disabled_at is None and bool(roles)
        if admitted and row_now is not None:
            await audit.append(connection, store.vault, row_now.login, "login", row_now.login, outcome="ok", via="oidc")
    if not admitted:
        raise Forbidden("Your account has no role in this console. Ask whoever runs it for one.")
    return user_of(row_now)


def _row(user_id: str, name: str, roles: Sequence[str]) -> Json:
    """A login that tells people apart and is nobody else's; no password opens it."""
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "user"
    row: Json = {"id": user_id, "login": f"{readable}-{user_id[4:12]}", "name": name[:100] or readable}
    row |= {"password_hash": hashed(uuid.uuid4().hex), "roles": list(roles), "preferences": {}}
    return row | {"created_at": time.time(), "disabled_at": None, "failures": 0, "locked_until": 0.0}
