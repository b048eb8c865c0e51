import pytest
import sqlalchemy as sa

from service.ledger import audit
from service.ledger.desk import ReviewItem
from service.ledger.erasure import DAY_S, erase, erase_subject, hold, retain
from service.ledger.models import Content, ContentKey, Exchange, Tombstone
from service.ledger.store import StoreError
from service.ledger.verify import verify as examine
from service.review.cases import item
from service.review.claims import claim, next_item
from service.review.decisions import Decision, decide
from service.review.entries import COUNTED, counts, list_items, search
from service.review.export import note, rows
from service.review.reviewer import ReviewError
from tests.review.conftest import ADA, CLEARED
from tests.store.events import clean

AFTER = {"flagged": 365, "sampled": 30}


async def test_a_sampled_clean_exchange_is_reviewed_with_its_share(fill, store):
    """Clean traffic that chance picked waits behind what was flagged, with the probability of being there at all."""

    def sampled(exchange_id):
        asked, closed = clean(exchange_id, store="sampled", sampled=True)
        return [asked | {"sample_share": 0.02}, closed]

    await fill(1, sampled)
    await fill(1)
    await fill(1, clean)
    flagged, sample = (await list_items(store, ADA)).entries
    assert (flagged.why, flagged.inclusion_probability) == ("flagged", 1.0)
    assert (sample.why, sample.inclusion_probability, sample.category) == ("sample", 0.02, None)


async def test_pages_follow_each_other_without_gap_or_repeat(fill, store):
    """Keyset paging shows every item once, in order, though items are decided between two pages."""
    await fill(7)
    seen, after = [], None
    while True:
        page = await list_items(store, ADA, limit=2, after=after)
        seen += page.entries
        if (after := page.after) is None:
            break
        await decide(store, page.entries[0].exchange_id, Decision("bob", input="ok"))
    assert len({e.id for e in seen}) == 7
    assert seen == sorted(seen, key=lambda e: (e.priority, e.due_at, e.id))
    with pytest.raises(ReviewError, match="first one"):
        await list_items(store, ADA, after="nonsense")


async def test_search_finds_by_what_is_known_without_text(fill, store):
    """By id, tenant, category, outcome and time, newest first, page by page."""
    ids = await fill(3)
    assert [e.exchange_id for e in (await search(store)).entries] == ids[::-1]
    assert [e.exchange_id for e in (await search(store, text=ids[1][:16])).entries] == [ids[1]]
    for wrong in ({"tenant": "other"}, {"category": "hate"}, {"outcome": "x"}, {"until": 1.0}, {"text": "%"}):
        assert (await search(store, **wrong)).entries == ()
    assert len((await search(store, tenant="acme", category="harm", state="open", since=1.0)).entries) == 3
    first = await search(store, limit=2)
    assert [e.exchange_id for e in (await search(store, limit=2, after=first.after)).entries] == [ids[0]]


async def test_counts_say_what_waits(fill, store):
    """Open, contested and overdue by queue; the restricted queue is counted for those with the clearance alone."""
    ids = await fill(3)
    await decide(store, ids[0], Decision("ada", input="unsure"))
    by_queue = {c.queue: c for c in await counts(store, ADA, now=3e9)}
    assert list(by_queue) == ["urgent", "default"]
    found = by_queue["default"]
    assert (found.open, found.contested, found.overdue) == (2, 1, 2)
    assert found.oldest_s > 0
    assert "restricted" in [c.queue for c in await counts(store, CLEARED)]
    assert found.open < COUNTED


async def test_the_audit_log_knows_who_read_and_shows_what_was_changed(fill, store, settings):
    """Reads and decisions are in the chain; a changed, a removed and an inserted row are found by `verify`."""
    await fill(2)
    held = await next_item(store, ADA)
    await item(store, held.item.id, ADA)
    await decide(store, held.item.exchange_id, Decision("ada", input="ok"))
    for number in range(4):
        await audit.record(store, "ada", "look", f"thing {number}", n=1.5, text="ü")
    found, head = await audit.faults(store)
    assert found == []
    assert head[0] == 6
    async with store.engine.begin() as connection:
        log = (await connection.execute(sa.text("SELECT actor, action FROM audit_log ORDER BY seq"))).all()
        assert [tuple(row) for row in log][:2] == [("ada", "read"), ("ada", "decide")]
        for event in ("update", "delete"):
            on = " ON audit_log" if store.engine.dialect.name == "postgresql" else ""
            await connection.execute(sa.text(f"DROP TRIGGER audit_log_no_{event}{on}"))
        await connection.execute(sa.text("UPDATE audit_log SET actor = 'bob' WHERE seq = 3"))
        await connection.execute(sa.text("DELETE FROM audit_log WHERE seq = 5"))
    faults = (await examine(settings.spool, store)).faults
    assert faults == ["audit log: row 3 was changed", "audit log: rows 5 to 5 are missing"]


async def test_erasure_leaves_a_tombstone_and_closes_what_waits(fill, store):
    """The texts and keys are gone, the item is closed and cannot be taken; exports that have the text are named."""
    (exchange_id,) = await fill()
    await decide(store, exchange_id, Decision("ada", input="unsure", note="0451"))
    made = [{"group": exchange_id}]
    export_id = await note(store, "cli", "guards", made, b"data")
    gone = await erase(store, exchange_id, by="dpo", why="request 7")
    assert [e.id for e in gone.exports] == [export_id]
    async with store.read() as session:
        stone = await session.get(Tombstone, exchange_id)
        (waiting,) = (await session.scalars(sa.select(ReviewItem))).all()
        left = [await session.scalar(sa.select(sa.func.count()).select_from(t)) for t in (Content, ContentKey)]
    assert (stone.by, stone.why, waiting.state, left) == ("dpo", "request 7", "closed", [0, 0])
    with pytest.raises(ReviewError, match="gone"):
        await claim(store, waiting.id, ADA)
    assert [row async for row in rows(store)] == []


async def test_a_legal_hold_beats_erasure_and_retention(fill, store):
    """What is on hold is neither erased nor aged out, until the hold ends; the refusal says how to end it."""
    (exchange_id,) = await fill()
    assert await hold(store, exchange_id, True, why="case 77")
    with pytest.raises(StoreError, match="hold remove"):
        await erase(store, exchange_id)
    assert (await retain(store, AFTER, now=4e9))["flagged"] == 0
    assert await store.texts(exchange_id)
    await hold(store, exchange_id, False)
    assert (await retain(store, AFTER, now=4e9))["flagged"] == 1
    assert await store.texts(exchange_id) == {}
    assert not await hold(store, "exc_none", True)


async def test_each_class_is_kept_as_long_as_it_says(fill, store):
    """Sampled texts go before flagged ones; a dry run counts and erases nothing; a second run finds nothing."""
    (flagged_id,) = await fill()
    (sampled_id,) = await fill(1, clean, store="sampled", sampled=True)
    async with store.read() as session:
        closed_at = await session.scalar(sa.select(sa.func.max(Exchange.closed_at)))
    now = closed_at + 31 * DAY_S
    assert await retain(store, AFTER, dry_run=True, now=now) == {"flagged": 0, "sampled": 1}
    assert await store.texts(sampled_id)
    assert await retain(store, AFTER, now=now) == {"flagged": 0, "sampled": 1}
    assert await store.texts(sampled_id) == {}
    assert await store.texts(flagged_id)
    assert await retain(store, AFTER, now=now) == {"flagged": 0, "sampled": 0}


async def test_all_of_one_end_user_is_erased(fill, store):
    """By the name that the client gave them; another tenant's user of that name, and what is on hold, stay."""
    ids = await fill(3)
    await hold(store, ids[2], True)
    assert (await erase_subject(store, "other", "end-user-77@example.com")).erased == []
    gone = await erase_subject(store, "acme", "end-user-77@example.com")
    assert ([e.exchange_id for e in gone.erased], gone.held) == (ids[:2], ids[2:])
    assert await store.texts(ids[0]) == {}
    assert await store.texts(ids[2])
