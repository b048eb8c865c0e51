import asyncio

import pytest
import sqlalchemy as sa

from service.gate.exchange import Caller
from service.ledger.desk import ReportRow, ReviewItem
from service.ledger.erasure import erase
from service.review.claims import next_item
from service.review.decisions import Decision, submit
from service.review.export import rows
from service.review.feedback import Feedback, give, reports, scrubbed
from service.review.queue import case
from service.review.reviewer import ReviewError, Unknown
from tests.review.conftest import ADA, CLEARED
from tests.store.events import clean

CLIENT = Caller("key_1", "acme")
STRANGER = Caller("key_2", "globex")


async def items(store, why):
    async with store.read() as session:
        return list(await session.scalars(sa.select(ReviewItem).where(ReviewItem.why == why)))


async def test_what_a_client_says_is_sealed_and_scrubbed(fill, store):
    """Comment and preferred answer are in the case's texts alone, with addresses and numbers taken out."""
    (exchange_id,) = await fill(1, clean)
    said = Feedback(exchange_id, "thumbs_down", comment="mail me: ada@example.org", preferred_answer="Say please.")
    report_id = await give(store, CLIENT, said)
    (row,) = await reports(store, ADA)
    assert (row.id, row.kind, row.rating, row.item_id, row.key_id) == (report_id, "thumbs_down", None, None, "key_1")
    texts = (await case(store, exchange_id)).texts[report_id]
    assert texts == {"comment": "mail me: [email]", "preferred_answer": "Say please."}
    assert scrubbed("card 4111 1111 1111 1111") == "card [card]"
    assert await items(store, "report") == []


async def test_a_report_asks_reviewers_and_labels_nothing(fill, store):
    """A report opens one item, by what it claims in the urgent queue; only a reviewer's decision makes a label."""
    (exchange_id,) = await fill()
    await give(store, CLIENT, Feedback(exchange_id, "report", categories=("self_harm",)))
    await give(store, CLIENT, Feedback(exchange_id, "report", categories=("hate",)))
    (item,) = await items(store, "report")
    assert (item.queue, item.category) == ("urgent", "self_harm")
    assert [row async for row in rows(store)] == []
    held = await next_item(store, ADA, gold_share=0)
    assert held.item.why == "report"
    await submit(store, held.token, Decision("ada", input="harmful", categories=("self_harm",)))
    assert [row["labels"] async for row in rows(store)] == [{"self_harm": 1}]


async def test_what_is_reported_as_restricted_is_for_the_cleared(fill, store):
    """A report that claims child exploitation is served and listed to reviewers of that clearance alone."""
    (exchange_id,) = await fill(1, clean)
    await give(store, CLIENT, Feedback(exchange_id, "report", categories=("child_exploitation",)))
    (item,) = await items(store, "report")
    assert item.queue == "restricted"
    assert await reports(store, ADA) == []
    assert len(await reports(store, CLEARED, "report")) == 1


async def test_the_same_id_counts_once(fill, store):
    """Sent again, at the same moment or after it was decided, feedback of one id is one and opens nothing anew."""
    (exchange_id,) = await fill(1, clean)
    said = Feedback(exchange_id, "report", comment="once", id="mine-1")
    ids = await asyncio.gather(*(give(store, CLIENT, said) for _ in range(4)))
    assert len(set(ids)) == 1
    held = await next_item(store, ADA, gold_share=0)
    await submit(store, held.token, Decision("ada", input="ok"))
    assert await give(store, CLIENT, said) == ids[0]
    assert len(await items(store, "report")) == 1
    assert (await store.count(ReportRow))["reports"] == 1


async def test_another_tenants_exchange_is_as_unknown_as_none(fill, store):
    """The message is the same for both, and nothing is kept."""
    (exchange_id,) = await fill()
    messages = []
    for wrong in (exchange_id, "exc_" + "0" * 32):
        with pytest.raises(Unknown) as caught:
            await give(store, STRANGER, Feedback(wrong, "thumbs_up"))
        messages.append(str(caught.value).replace(wrong, "X"))
    assert messages[0] == messages[1]
    assert (await store.count(ReportRow))["reports"] == 0


async def test_nothing_is_added_to_erased_texts(fill, store):
    """After an erasure a thumb is still counted, a text is refused."""
    (exchange_id,) = await fill()
    await erase(store, exchange_id)
    await give(store, CLIENT, Feedback(exchange_id, "thumbs_up"))
    with pytest.raises(ReviewError, match="erased"):
        await give(store, CLIENT, Feedback(exchange_id, "thumbs_down", comment="bad"))


async def test_an_exchange_of_just_now_is_waited_for(running, store):
    """Feedback that comes before the exchange is in the database is kept once it is."""
    from tests.store.events import flagged, new_id

    exchange_id = new_id()
    waiting = asyncio.create_task(give(store, CLIENT, Feedback(exchange_id, "thumbs_up")))
    await asyncio.sleep(0.05)
    async with running() as ledger:
        for event in flagged(exchange_id):
            await ledger.commit(event)
        assert await ledger.drain(20)
    assert (await waiting).startswith("rep_")
