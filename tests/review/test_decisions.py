import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from service.ledger.desk import AdjudicationRow, DecisionRow, ReviewItem
from service.ledger.models import AuditRow, VerdictRow
from service.review import outbox
from service.review.adjudication import adjudicate, comment, escalate
from service.review.cases import item
from service.review.claims import claim, next_item
from service.review.decisions import UNDO_S, Decision, decide, submit, undo
from service.review.entries import list_items, search
from service.review.export import rows
from service.review.intake import make_gold, open_item
from service.review.queue import case
from service.review.reviewer import ReviewError
from tests.review.conftest import ADA, BOB, CLEARED, LEA
from tests.store.events import flagged

NOW = 2e9


def child_exploitation(exchange_id):
    events = flagged(exchange_id)
    events[1]["verdicts"][0]["category"] = "child_exploitation"
    return events


async def decided(store, reviewer=ADA, **said):
    """Serves the next item to a reviewer and records what they say; the item's id and the decision's."""
    held = await next_item(store, reviewer, gold_share=0)
    return held.item.id, await submit(store, held.token, Decision(reviewer.name, **said))


async def state(store, item_id):
    async with store.read() as session:
        return await session.scalar(sa.select(ReviewItem.state).where(ReviewItem.id == item_id))


async def test_a_whole_decision_is_kept(fill, store):
    """Judgements, severity, spans, confidence, what was on the screen and how long it took are read back as given."""
    await fill()
    span = ("asked/1", 4, 9, "harm")
    said = {"input": "harmful", "output": "ok", "action": "over_block", "categories": ("harm",), "severity": 3}
    item_id, decision_id = await decided(
        store, **said, spans=(span,), confidence=0.8, guard_visible=False, duration_s=12.5, note="see 0451"
    )
    found = await item(store, item_id, ADA)
    (row,) = found.case.decisions
    assert {name: getattr(row, name) for name in said} == said | {"categories": ["harm"]}
    assert (row.spans, row.confidence, row.guard_visible, row.duration_s) == ([list(span)], 0.8, False, 12.5)
    assert found.case.texts[decision_id] == {"note": "see 0451"}
    assert await state(store, item_id) == "decided"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"input": "harmful", "severity": 5}, "severity"),
        ({"input": "harmful", "confidence": 1.1}, "confidence"),
        ({"input": "harmful", "categories": ("harm",), "spans": (("asked/0", 4, 4, "harm"),)}, "covers nothing"),
        ({"input": "harmful", "spans": (("asked/0", 0, 4, "harm"),)}, "not among"),
    ],
)
async def test_a_wrong_decision_changes_nothing(fill, store, said, message):
    """What cannot be is refused with a reason, and the item stays with its reviewer."""
    await fill()
    held = await next_item(store, ADA)
    with pytest.raises(ReviewError, match=message):
        await submit(store, held.token, Decision("ada", **said))
    assert await next_item(store, ADA) == held


async def test_undo_within_seconds(fill, store):
    """An undone decision counts no more, has no effect, stays on record, and its reviewer has the item again."""
    await fill()
    held = await next_item(store, ADA, now=NOW)
    first = await submit(store, held.token, Decision("ada", input="harmful"), now=NOW)
    again = await undo(store, first, ADA, now=NOW + UNDO_S - 1)
    assert (again.item.id, again.item.state, again.item.reviews_done) == (held.item.id, "open", 0)
    found = await case(store, held.item.exchange_id)
    assert [d.withdrawn for d in found.decisions] == [False, True]
    assert found.in_force == []
    assert await outbox.due(store, "decided", now=NOW + 2 * UNDO_S) == []
    second = await submit(store, again.token, Decision("ada", input="ok"), now=NOW + UNDO_S)
    assert [d.id for d in (await case(store, held.item.exchange_id)).in_force] == [second]
    assert [row.id for row in await outbox.due(store, "decided", now=NOW + 3 * UNDO_S)] == [second]


async def test_undoing_a_second_thought_restores_the_first(fill, store):
    """What was in force before the undone decision is in force again."""
    await fill()
    item_id, _ = await decided(store, input="harmful", severity=2)
    held = await claim(store, item_id, ADA)
    second = await submit(store, held.token, Decision("ada", input="ok"))
    await undo(store, second, ADA)
    (counts,) = (await case(store, held.item.exchange_id)).in_force
    assert (counts.input, counts.severity, counts.withdrawn) == ("harmful", 2, False)


async def test_only_ones_own_latest_decision_and_only_soon(fill, store):
    """Another's decision, an older one, and one whose time is over cannot be undone."""
    await fill()
    held = await next_item(store, ADA, now=NOW)
    first = await submit(store, held.token, Decision("ada", input="harmful"), now=NOW)
    with pytest.raises(ReviewError, match="no such decision"):
        await undo(store, first, BOB, now=NOW)
    with pytest.raises(ReviewError, match="too late"):
        await undo(store, first, ADA, now=NOW + UNDO_S + 1)
    held = await claim(store, held.item.id, ADA, now=NOW)
    await submit(store, held.token, Decision("ada", input="ok"), now=NOW)
    with pytest.raises(ReviewError, match="decided again"):
        await undo(store, first, ADA, now=NOW)


async def test_disagreement_goes_to_a_lead_who_did_not_decide(fill, store):
    """Two reviewers who differ leave a contested item; a moderator or a party cannot settle it, a lead can, once."""
    (exchange_id,) = await fill()
    await decide(store, exchange_id, Decision("ada", input="harmful", action="correct"))
    await decide(store, exchange_id, Decision("lea", input="ok", action="over_block"))
    (entry,) = (await list_items(store, ADA, state="contested")).entries
    said = Decision("x", input="ok", note="irony")
    with pytest.raises(ReviewError, match="for leads"):
        await adjudicate(store, entry.id, BOB, said, "hard_case")
    with pytest.raises(ReviewError, match="nobody adjudicates what they decided"):
        await adjudicate(store, entry.id, LEA, said, "hard_case")
    boss = LEA.__class__("boss", frozenset({"lead"}))
    with pytest.raises(ReviewError, match="policy_unclear"):
        await adjudicate(store, entry.id, boss, said, "whatever")
    await adjudicate(store, entry.id, boss, said, "reviewer_slip")
    assert await state(store, entry.id) == "adjudicated"
    with pytest.raises(ReviewError, match="adjudicated; only contested"):
        await adjudicate(store, entry.id, boss, said, "hard_case")
    (row,) = [row async for row in rows(store)]
    assert row["labels"] == {"harm": 0}


async def test_an_unsure_reviewer_asks_for_a_second_opinion(fill, store):
    """One who is unsure decides nothing alone: the item is contested, and no label comes of it."""
    await fill()
    item_id, _ = await decided(store, input="unsure")
    assert await state(store, item_id) == "contested"
    assert [row async for row in rows(store)] == []


async def test_nobody_hears_an_appeal_on_their_own_decision(fill, store):
    """An appeal is served to somebody else, and refused to whoever decided the exchange, by the database itself."""
    (exchange_id,) = await fill()
    await decided(store, input="harmful")
    async with store.write() as connection:
        appeal = await open_item(store, connection, exchange_id, "appeal")
    assert await next_item(store, ADA, gold_share=0) is None
    held = await claim(store, appeal, ADA)
    with pytest.raises(ReviewError, match="nobody hears an appeal"):
        await submit(store, held.token, Decision("ada", input="harmful"))
    async with store.write() as connection:
        await connection.execute(sa.text("DELETE FROM claims"))
    assert (await next_item(store, BOB, gold_share=0)).item.id == appeal


async def test_what_was_decided_is_never_changed(fill, store):
    """Verdicts, decisions, adjudications and the audit log refuse every UPDATE and DELETE, whoever tries."""
    (exchange_id,) = await fill()
    await decide(store, exchange_id, Decision("ada", input="unsure"))
    (entry,) = (await list_items(store, ADA, state="contested")).entries
    await adjudicate(store, entry.id, LEA, Decision("lea", input="ok"), "hard_case")
    for table, change in (
        (VerdictRow, {"score": 0.0}),
        (DecisionRow, {"input": "ok"}),
        (AdjudicationRow, {"input": "ok"}),
        (AuditRow, {"actor": "nobody"}),
    ):
        for statement in (sa.update(table).values(**change), sa.delete(table)):
            with pytest.raises(IntegrityError, match="append-only"):
                async with store.write() as connection:
                    await connection.execute(statement)


async def test_others_decisions_are_seen_after_ones_own(fill, store):
    """Before deciding a reviewer sees neither what others decided nor wrote; afterwards, and as a lead, all of it."""
    (exchange_id,) = await fill()
    await decide(store, exchange_id, Decision("ada", input="harmful", note="0451 is a code"))
    (entry,) = (await list_items(store, ADA, state="decided")).entries
    await comment(store, entry.id, ADA, "look at the second line")
    blind = await item(store, entry.id, BOB)
    assert (blind.case.decisions, list(blind.comments), blind.decided) == ([], [], False)
    assert "0451 is a code" not in str(blind.case.texts)
    assert "second line" not in str(blind.case.texts)
    assert len((await item(store, entry.id, LEA)).case.decisions) == 1
    await decide(store, exchange_id, Decision("bob", input="harmful"))
    seen = await item(store, entry.id, BOB)
    assert (len(seen.case.decisions), len(seen.comments), seen.decided) == (2, 1, True)
    assert "second line" in str(seen.case.texts)


async def test_escalation_goes_to_a_lead_at_once(fill, store):
    """An escalated item is no longer served, waits contested at the front, and an urgent one has its own target."""
    await fill()
    held = await next_item(store, ADA, now=NOW)
    await escalate(store, held.item.id, ADA, "names a school and a day", urgent=True, now=NOW)
    assert await next_item(store, BOB, now=NOW) is None
    (entry,) = (await list_items(store, LEA, queue="urgent", state="contested")).entries
    assert (entry.priority, entry.due_at <= NOW + 900) == (0, True)
    assert "school" in str((await item(store, entry.id, LEA)).case.texts)


async def test_child_exploitation_goes_to_its_queue_and_nowhere_else(fill, store):
    """Not served, listed, opened, found, exported or made gold without the clearance; the queue cannot be left."""
    (exchange_id,) = await fill(1, child_exploitation)
    assert await next_item(store, ADA, ("urgent", "default", "restricted")) is None
    with pytest.raises(ReviewError, match="clearance"):
        await list_items(store, ADA, queue="restricted")
    (entry,) = (await list_items(store, CLEARED, queue="restricted")).entries
    for act in (item(store, entry.id, ADA), claim(store, entry.id, ADA), item(store, entry.id, LEA)):
        with pytest.raises(ReviewError, match="clearance"):
            await act
    assert (await search(store)).entries == ()
    held = await next_item(store, CLEARED, ("restricted",))
    await submit(store, held.token, Decision("rex", input="harmful"))
    assert [row async for row in rows(store)] == []
    with pytest.raises(ReviewError, match="restricted"):
        await make_gold(store, exchange_id, {"input": "harmful"}, "lea")
    with pytest.raises(IntegrityError, match="stays restricted"):
        async with store.write() as connection:
            await connection.execute(sa.update(ReviewItem).values(queue="default"))
    async with store.write() as connection:
        report = await open_item(store, connection, exchange_id, "report")
    assert report in [e.id for e in (await list_items(store, CLEARED, queue="restricted")).entries]


async def test_a_reviewer_who_recognises_it_restricts_it(fill, store):
    """A decision that names child exploitation moves all items of the exchange, and nothing of it is exported."""
    await fill()
    item_id, _ = await decided(store, input="harmful", categories=("child_exploitation",))
    (entry,) = (await list_items(store, CLEARED, queue="restricted", state="decided")).entries
    assert entry.id == item_id
    assert [row async for row in rows(store)] == []
