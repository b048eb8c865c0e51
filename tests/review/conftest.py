import pytest

from service.review.reviewer import Reviewer
from tests.store.conftest import postgres, running, settings, store  # noqa: F401  the same store on both databases
from tests.store.events import flagged, new_id

ADA, BOB, EVE = Reviewer("ada"), Reviewer("bob"), Reviewer("eve")
LEA = Reviewer("lea", frozenset({"moderator", "lead"}))
CLEARED = Reviewer("rex", frozenset({"moderator", "restricted"}))


@pytest.fixture
async def fill(running):  # noqa: F811
    """Ships exchanges made of events; returns their ids, oldest first."""

    async def ship(count=1, make=flagged, **options):
        ids = [new_id() for _ in range(count)]
        async with running() as ledger:
            for exchange_id in ids:
                for event in make(exchange_id, **options):
                    await ledger.commit(event)
            assert await ledger.drain(20)
        return ids

    return ship
