"""Exchanges that somebody picked to be labelled, and those that may be picked."""

import pytest
import sqlalchemy as sa

from service.ledger.desk import ReviewItem
from service.ledger.erasure import erase
from service.review.reviewer import ReviewError
from service.review.selection import Picked, ask_about, unreviewed
from tests.store.events import clean

SCORES = {"default": {"version": "1", "digest": "d", "input": {"harm": 0.25}, "output": {}}}  # as in `events`


async def test_what_nobody_was_asked_about_can_be_picked(fill, store):
    """Clean exchanges with texts are candidates; flagged, erased and asked about ones, and textless ones, are not."""
    sampled, erased = await fill(2, clean, store="sampled", sampled=True)
    await fill(1, clean)
    await fill(1)
    await erase(store, erased)
    assert [(one.exchange_id, one.scores) for one in await unreviewed(store, 10)] == [(sampled, SCORES)]
    await ask_about(store, [Picked(sampled, "threshold", 1.0)], "op")
    assert await unreviewed(store, 10) == []


async def test_what_was_picked_says_why_and_how_likely(fill, store):
    """The item tells reason and inclusion probability; an exchange that has an item keeps it."""
    (picked,), (flagged,) = await fill(1, clean), await fill(1)
    both = [Picked(picked, "random", 0.2), Picked(flagged, "threshold", 1.0)]
    first, second = await ask_about(store, both, "op"), await ask_about(store, both, "op")
    assert [one.added for one in first + second] == [True, False, False, False]
    assert [one.item_id for one in first] == [one.item_id for one in second]
    columns = ReviewItem.why, ReviewItem.reason, ReviewItem.inclusion_probability
    async with store.read() as session:
        found = await session.execute(sa.select(*columns).order_by(ReviewItem.why))
        assert [tuple(row) for row in found] == [("flagged", None, 1.0), ("selected", "random", 0.2)]


async def test_one_that_is_not_there_keeps_all_out(fill, store):
    """Where one exchange is unknown, none of the request is put up."""
    (known,) = await fill(1, clean)
    with pytest.raises(ReviewError, match="no exchange"):
        await ask_about(store, [Picked(known, "random", 0.5), Picked("exc_none", "random", 0.5)], "op")
    async with store.read() as session:
        assert await session.scalar(sa.select(sa.func.count()).select_from(ReviewItem)) == 0
