import asyncio
import os
from collections import Counter

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from service.ledger.desk import ClaimRow, ReviewItem
from service.review.claims import (
    LEASE_S,
    ROTATE_AFTER,
    claim,
    heartbeat,
    next_item,
    release_claim,
    skip,
)
from service.review.decisions import Decision, submit
from service.review.entries import list_items
from service.review.intake import make_gold
from service.review.reviewer import Reviewer, ReviewError
from tests.review.conftest import ADA, BOB, EVE
from tests.store.events import asked, clean, closed, flagged, new_id, verdict

PROVE = os.environ.get("SLUICEGATE_PROVE") == "1"
NOW = 2e9


async def drained(store, reviewer, hold_back=0.0):
    """What one reviewer gets who decides everything served to them."""
    mine = []
    while (held := await next_item(store, reviewer, gold_share=0)) is not None:
        await asyncio.sleep(hold_back)
        await submit(store, held.token, Decision(reviewer.name, input="harmful"))
        mine.append(held.item.id)
    return mine


async def test_many_reviewers_at_once_never_get_the_same_item(fill, store):
    """Of reviewers who race for a queue each item goes to exactly one, and every item goes to somebody."""
    count, racers = (200, 20) if PROVE else (24, 8)
    await fill(count)
    reviewers = [Reviewer(f"r{n}") for n in range(racers)]
    shares = await asyncio.gather(*(drained(store, r) for r in reviewers))
    served = Counter(item for share in shares for item in share)
    assert set(served.values()) == {1}
    assert len(served) == count


async def test_an_item_that_wants_two_reviews_gets_two_reviewers(fill, store):
    """Two reviewers at once and no third; nobody is served it twice; it is decided after the second."""
    await fill()
    async with store.write() as connection:
        await connection.execute(sa.update(ReviewItem).values(reviews_wanted=2))
    one, two = await next_item(store, ADA), await next_item(store, BOB)
    assert one.item.id == two.item.id
    assert await next_item(store, EVE) is None
    await submit(store, one.token, Decision("ada", input="harmful"))
    assert await next_item(store, ADA) is None
    assert await next_item(store, EVE) is None
    await submit(store, two.token, Decision("bob", input="harmful"))
    (item,) = (await list_items(store, ADA, state="decided")).entries
    assert item.reviews_done == 2


async def test_a_lease_ends_by_itself_and_lives_by_its_heartbeat(fill, store):
    """Who stays away loses the item after the lease, whose page beats keeps it, and an old token is void."""
    await fill()
    held = await next_item(store, ADA, now=NOW)
    assert await next_item(store, BOB, now=NOW + LEASE_S - 1) is None
    assert await heartbeat(store, held.token, now=NOW + LEASE_S - 1) == NOW + 2 * LEASE_S - 1
    assert await next_item(store, BOB, now=NOW + LEASE_S + 1) is None
    taken = await next_item(store, BOB, now=NOW + 2 * LEASE_S)
    assert taken.item.id == held.item.id
    for act in (
        heartbeat(store, held.token, now=NOW + 2 * LEASE_S),
        submit(store, held.token, Decision("ada", input="ok"), now=NOW + 2 * LEASE_S),
        skip(store, held.token, "other", now=NOW + 2 * LEASE_S),
    ):
        with pytest.raises(ReviewError, match="ran out"):
            await act


async def test_what_one_holds_is_served_again_until_it_is_given_back(fill, store):
    """Asking for the next item twice gives the one already held; given back, it is there for others."""
    await fill(2)
    held = await next_item(store, ADA)
    assert await next_item(store, ADA) == held
    await release_claim(store, held.token)
    assert (await next_item(store, BOB)).item.id == held.item.id


async def test_skipped_items_are_not_served_again(fill, store):
    """What a reviewer skipped goes to others and not back to them; an unknown reason changes nothing."""
    await fill()
    held = await next_item(store, ADA)
    with pytest.raises(ReviewError, match="prefer_not_to_view"):
        await skip(store, held.token, "boring")
    await skip(store, held.token, "prefer_not_to_view")
    assert await next_item(store, ADA) is None
    assert (await next_item(store, BOB)).item.id == held.item.id


async def test_a_certain_item_can_be_taken_only_while_nobody_else_has_it(fill, store):
    """Taking a held item is refused with a reason, an unknown one too."""
    await fill()
    held = await next_item(store, ADA)
    with pytest.raises(ReviewError, match="somebody else"):
        await claim(store, held.item.id, BOB)
    with pytest.raises(ReviewError, match="no item"):
        await claim(store, "item_none", BOB)
    await release_claim(store, held.token)
    assert (await claim(store, held.item.id, BOB)).item.id == held.item.id


async def test_the_database_itself_refuses_a_claim_too_many(fill, store):
    """A second live claim is refused whoever inserts it, past all of our code."""
    await fill()
    held = await next_item(store, ADA)
    row = {"item_id": held.item.id, "reviewer": "mallory", "token": "t", "taken_at": held.leased_until - 1}
    with pytest.raises(IntegrityError, match="no further review is wanted"):
        async with store.write() as connection:
            await connection.execute(sa.insert(ClaimRow).values(**row, leased_until=held.leased_until))


async def test_categories_one_opted_out_of_are_not_served(fill, store):
    """An opt-out keeps those items away from one reviewer, and from no other."""
    await fill()
    assert await next_item(store, Reviewer("ada", opt_out=frozenset({"harm"}))) is None
    assert await next_item(store, BOB) is not None


async def test_urgent_items_come_first(fill, store):
    """Whatever waits longer, imminent harm is served first, with its target of a quarter of an hour."""

    def self_harm(exchange_id):
        events = flagged(exchange_id)
        for one in events[1]["verdicts"]:
            one["category"] = "self_harm"
        return events

    await fill(2)
    await fill(1, self_harm)
    held = await next_item(store, ADA)
    assert (held.item.queue, held.item.priority, held.item.category) == ("urgent", 0, "self_harm")
    assert held.item.due_at == pytest.approx(held.item.created_at + 900, abs=60)


async def test_after_many_harmful_items_comes_a_sampled_one(fill, store):
    """Rotation: a reviewer whose last items were all flagged gets a sampled one, though flagged ones come first."""
    await fill(ROTATE_AFTER + 2)
    await fill(1, clean, store="sampled", sampled=True)
    whys = []
    for _ in range(ROTATE_AFTER + 2):
        held = await next_item(store, ADA, gold_share=0)
        await submit(store, held.token, Decision("ada", input="ok"))
        whys.append(held.item.why)
    assert whys == ["flagged"] * ROTATE_AFTER + ["sample", "flagged"]


async def test_gold_items_are_mixed_in_and_do_not_show_it(fill, store):
    """An item whose answer is known is served like any other, once to each reviewer, and never runs out."""
    (exchange_id,) = await fill()
    ordinary = (await list_items(store, ADA)).entries[0]
    gold = await make_gold(store, exchange_id, {"input": "harmful"}, "lea")
    for reviewer in (ADA, BOB, EVE):
        held = await next_item(store, reviewer, gold_share=1)
        assert held.item.id == gold
        assert (held.item.why, held.item.inclusion_probability) == (ordinary.why, ordinary.inclusion_probability)
        await submit(store, held.token, Decision(reviewer.name, input="harmful"))
    assert (await next_item(store, ADA, gold_share=1)).item.id == ordinary.id
    assert gold not in [e.id for e in (await list_items(store, ADA)).entries]


async def test_what_is_shipped_twice_is_one_item(fill, store, settings):
    """The same spool read again makes no second item, and a decided one does not open again."""
    from service.ledger.trail import Trail

    exchange_id = new_id()
    trail = Trail(exchange_id)
    for event in (asked(exchange_id), verdict(exchange_id), closed(exchange_id, flagged=True)):
        trail.add(event)
    await store.keep([trail])
    await store.keep([trail, trail])
    held = await next_item(store, ADA)
    await submit(store, held.token, Decision("ada", input="harmful"))
    await store.keep([trail])
    assert await next_item(store, BOB) is None
    async with store.read() as session:
        assert await session.scalar(sa.select(sa.func.count()).select_from(ReviewItem)) == 1
