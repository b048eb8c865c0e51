"""What exchanges scored, without a word of them: what drift is measured on."""

from collections.abc import AsyncIterator
from typing import Final

import sqlalchemy as sa

from service.gate.exchange import Json
from service.ledger.models import Exchange, VerdictRow
from service.ledger.store import Store

MOST: Final = 20_000  # exchanges, the newest ones


async def scored(store: Store, since: float, until: float) -> AsyncIterator[Json]:
    """Of exchanges asked in [since, until) (unix seconds), newest first: what each guard scored, what was found."""
    asked = (Exchange.asked_at >= since) & (Exchange.asked_at < until) & Exchange.scores.is_not(None)
    query = sa.select(Exchange.id, Exchange.asked_at, Exchange.outcome, Exchange.scores).where(asked)
    query = query.order_by(Exchange.asked_at.desc(), Exchange.id).limit(MOST)
    claimed = sa.select(VerdictRow.exchange_id, VerdictRow.category).join(Exchange).where(asked).distinct()
    async with store.read() as session:
        rows = (await session.execute(query)).all()
        found: dict[str, list[str]] = {}
        for exchange_id, category in await session.execute(claimed.where(VerdictRow.error.is_(None))):
            found.setdefault(exchange_id, []).append(category)
    for id_, at, outcome, scores in rows:
        yield {"at": at, "outcome": outcome, "categories": sorted(found.get(id_, [])), "scores": scores}
