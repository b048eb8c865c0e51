"""What the policy files said that were in force: an exchange names a digest, here is the text of it."""

import time
from collections.abc import Sequence

import sqlalchemy as sa

from guards.policy import Policies
from service.ledger.models import PolicyPart, PolicyRow
from service.ledger.store import Store


class PolicyNotes:
    """Notes every policy file that a gateway takes into force, as soon as the database is there. `by`: the gateway."""

    def __init__(self, store: Store, by: str) -> None:
        self._store, self._by = store, by
        self._taken: dict[str, tuple[Policies, float]] = {}

    def take(self, policies: Policies) -> None:
        """In force from this moment."""
        self._taken.setdefault(policies.digest, (policies, time.time()))

    async def __call__(self) -> None:
        """Writes what is not written yet. Raises what the database raises; what waits goes on waiting."""
        while self._taken:
            digest, (policies, at) = next(iter(self._taken.items()))
            await note(self._store, policies, at, self._by)
            self._taken.pop(digest)


async def note(store: Store, policies: Policies, at: float, by: str) -> bool:
    """Notes a file and all policies that it makes. False: it was noted before, and stays as it was."""
    base = policies.base
    row = {"digest": policies.digest, "name": base.name, "version": base.version, "text": policies.text}
    parts = {str(source): policy.digest for source, policy in policies.resolved.items()}
    async with store.write() as connection:
        first = store.insert(PolicyRow).values(**row, at=at, by=by).on_conflict_do_nothing()
        if not (await connection.execute(first)).rowcount:
            return False
        made = [{"file": policies.digest, "source": source, "digest": digest} for source, digest in parts.items()]
        await connection.execute(sa.insert(PolicyPart), made)
    return True


async def noted(store: Store, limit: int) -> Sequence[PolicyRow]:
    """Files that were in force, the newest first."""
    async with store.read() as session:
        return (await session.scalars(sa.select(PolicyRow).order_by(PolicyRow.at.desc()).limit(limit))).all()


async def said_by(store: Store, digest: str) -> PolicyRow | None:
    """The file behind the policy digest of an exchange or a verdict; the newest one where several made it."""
    of_it = sa.select(PolicyPart.file).where(PolicyPart.digest == digest)
    found = sa.select(PolicyRow).where(PolicyRow.digest.in_(of_it)).order_by(PolicyRow.at.desc()).limit(1)
    async with store.read() as session:
        return await session.scalar(found)
