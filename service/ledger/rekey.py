"""Rotation of the master key: data keys that an older one wrapped are wrapped by the first; texts stay as they are."""

from typing import Final

import sqlalchemy as sa

from service.ledger import audit
from service.ledger.models import ContentKey
from service.ledger.store import Store

AT_ONCE: Final = 500


async def rekey(store: Store, by: str) -> int:
    """Wraps anew what an older master key wrapped, and returns how many. Ended half-way, the next run goes on.

    Raises:
        SealError: a key was wrapped under a master key that was not given; what came before it is done.
    """
    current, done = store.vault.master_id, 0
    older = sa.select(ContentKey).where(ContentKey.master_id != current).order_by(ContentKey.id).limit(AT_ONCE)
    while True:
        async with store.write() as connection:
            rows = (await connection.execute(older)).all()
            for row in rows:
                wrapped = store.vault.rewrap(row.exchange_id, row.master_id, row.wrapped)
                change = sa.update(ContentKey).where(ContentKey.id == row.id)
                await connection.execute(change.values(master_id=current, wrapped=wrapped))
            if not rows:
                await audit.append(connection, store.vault, by, "rekey", current, keys=done)
                return done
        done += len(rows)
