import asyncio
import time

import pytest
import sqlalchemy as sa

from service.gate.exchange import Caller
from service.ledger.desk import AppealRow
from service.ledger.erasure import erase
from service.review.adjudication import adjudicate
from service.review.appeals import appeal, appeals, status
from service.review.claims import claim, next_item
from service.review.decisions import UNDO_S, Decision, submit, undo
from service.review.export import rows
from service.review.intake import make_gold
from service.review.queue import case
from service.review.reviewer import ReviewError, Unknown
from tests.review.conftest import ADA, BOB, EVE, LEA
from tests.store.events import clean

CLIENT = Caller("key_1", "acme")


def later():
    return time.time() + UNDO_S + 1


async def decided(store, item_id, reviewer, **said):
    held = await claim(store, item_id, reviewer)
    return await submit(store, held.token, Decision(reviewer.name, **said))


async def lodged(fill, store):
    """A refused exchange that ada decided, and the appeal against it."""
    (exchange_id,) = await fill()
    first = await next_item(store, ADA, gold_share=0)
    await submit(store, first.token, Decision("ada", input="harmful", action="correct", categories=("harm",)))
    return await appeal(store, CLIENT, exchange_id, "It was about fishing. ada@example.org")


async def test_an_appeal_is_heard_by_somebody_else(fill, store):
    """Whoever decided first neither is served the appeal nor may take it; others are; the statement is sealed."""
    made = await lodged(fill, store)
    assert await next_item(store, ADA, gold_share=0) is None
    held = await claim(store, made.item_id, ADA)
    with pytest.raises(ReviewError, match="appeal"):
        await submit(store, held.token, Decision("ada", input="ok", action="over_block"))
    texts = (await case(store, made.exchange_id)).texts
    assert texts[made.id] == {"statement": "It was about fishing. [email]"}


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ({"input": "ok", "action": "over_block"}, "overturned"),
        ({"input": "harmful", "action": "correct"}, "upheld"),
        ({"input": "ok", "action": "correct"}, "upheld"),
        ({"output": "ok"}, "overturned"),
    ],
)
async def test_the_status_goes_from_received_to_an_answer(fill, store, said, answer):
    """Received, in review while somebody is at it, in review until the decision can no longer be undone, answered."""
    made = await lodged(fill, store)
    assert (await status(store, made.id, "acme")).status == "received"
    held = await next_item(store, BOB, gold_share=0)
    assert (await status(store, made.id, "acme")).status == "in_review"
    await submit(store, held.token, Decision("bob", **said))
    assert (await status(store, made.id, "acme")).status == "in_review"
    found = await status(store, made.id, "acme", later())
    assert found.status == answer
    assert found.decided_at == pytest.approx(time.time(), abs=60)


async def test_an_undone_decision_is_never_told(fill, store):
    """A decision taken back in time leaves the appeal open; what is decided then is the answer, and stays it."""
    made = await lodged(fill, store)
    decision_id = await decided(store, made.item_id, BOB, action="over_block")
    held = await undo(store, decision_id, BOB)
    await submit(store, held.token, Decision("bob", action="correct"))
    assert (await status(store, made.id, "acme", later())).status == "upheld"
    await decided(store, made.item_id, BOB, action="over_block")
    assert (await status(store, made.id, "acme", later())).status == "upheld"


async def test_a_contested_appeal_is_answered_by_the_adjudication(fill, store):
    """While reviewers disagree it is in review; the lead's word answers at once."""
    made = await lodged(fill, store)
    await decided(store, made.item_id, BOB, action="over_block", input="unsure")
    assert (await status(store, made.id, "acme", later())).status == "in_review"
    said = Decision("lea", input="ok", action="over_block")
    await adjudicate(store, made.item_id, LEA, said, "hard_case")
    assert (await status(store, made.id, "acme")).status == "overturned"


async def test_one_appeal_an_exchange(fill, store):
    """Appealing again, at the same moment too, gives the same appeal and one item."""
    (exchange_id,) = await fill()
    found = await asyncio.gather(*(appeal(store, CLIENT, exchange_id, "please") for _ in range(4)))
    assert len({a.id for a in found}) == 1
    async with store.read() as session:
        assert await session.scalar(sa.select(sa.func.count()).select_from(AppealRow)) == 1
    assert [a.id for a in await appeals(store, EVE)] == [found[0].id]


async def test_what_was_not_held_back_cannot_be_appealed_against(fill, store):
    """Clean exchanges, erased ones and those of others are refused, each with what to do or why."""
    (exchange_id,) = await fill(1, clean)
    with pytest.raises(ReviewError, match="/v1/feedback"):
        await appeal(store, CLIENT, exchange_id, "please")
    (erased,) = await fill()
    with pytest.raises(Unknown, match="no exchange"):
        await appeal(store, Caller("key_2", "globex"), erased, "please")
    made = await appeal(store, CLIENT, erased, "please")
    with pytest.raises(Unknown, match="no appeal"):
        await status(store, made.id, "globex")
    with pytest.raises(Unknown, match="no appeal"):
        await status(store, "app_none", "acme")
    await erase(store, erased)
    assert (await status(store, made.id, "acme")).status == "received"
    with pytest.raises(ReviewError, match="erased"):
        await appeal(store, CLIENT, erased, "please")


async def test_an_appeal_corrects_the_label(fill, store):
    """What was decided on an appeal is what training data says, whatever was decided before, and gold never counts."""
    made = await lodged(fill, store)
    await decided(store, made.item_id, BOB, input="ok", action="over_block")
    gold = await make_gold(store, made.exchange_id, {"input": "harmful"}, "lea")
    await decided(store, gold, EVE, input="harmful")
    (row,) = [row async for row in rows(store)]
    assert (row["labels"]["harm"], row["why"], row["item_id"]) == (0, "appeal", made.item_id)
