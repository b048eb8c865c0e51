"""Leads, admins and auditors in a real browser: settle, hear, find, look after people; every way to be sent off."""

import re
import time

import httpx
import pytest
import sqlalchemy as sa
from playwright.sync_api import expect

from service.ledger.desk import AdjudicationRow, AppealRow, ReviewItem, SessionRow
from service.ledger.routing import item_id
from service.review.decisions import Decision, decide
from tests.console.conftest import allow, log_in, ready
from tests.console.hostile import TEXTS
from tests.console.test_axe import violations
from tests.console.test_hostile import ALIEN
from tests.console.test_shift import open_item, rows
from tests.console.world import world
from tests.serving import KEY

STATEMENT = f"It was about a board game. {TEXTS[0]} \u202e Write to ada@example.org."


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A dozen exchanges, three of them alike; the one that was refused is appealed against."""
    with world(tmp_path_factory.mktemp("home"), console_daily_chars=60) as made:
        alike = "Please write a very rude letter to my landlord about the broken heating, RUDEWORD number"
        made.ids = [made.ask(("user", f"{alike} {n}")) for n in range(3)]
        others = "HARMWORD it", "one RUDEWORD", "two RUDEWORD", "EXPLICITWORD", "RUDEWORD, three"
        made.ids += [made.ask(("user", text)) for text in others]
        made.settle()
        lodged = httpx.post(
            f"{made.api}/v1/appeals",
            json={"exchange_id": made.ids[3], "statement": STATEMENT},
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=60,
        )
        assert lodged.status_code == 200, lodged.text
        yield made


def test_a_lead_settles_what_somebody_was_unsure_of(opened, desk):
    """Unsure makes it contested; the lead finds it by its state, sees what was said, settles it with a cause, once."""
    desk.run(decide(desk.store, desk.ids[4], Decision("ada", input="unsure", note="is this rude?")))
    page = opened("lead")
    page.goto("/queue?state=contested")
    page.get_by_role("link", name=item_id(desk.ids[4], "flagged")[5:13]).press("Enter")
    expect(page.get_by_role("heading", name="Settle it")).to_be_visible()
    expect(page.get_by_text("is this rude?")).to_have_count(1)
    assert violations(page) == []
    ready(page)
    page.keyboard.press("v")
    page.keyboard.press("c")
    allow(page, "422")
    page.get_by_label("Why it was contested").evaluate("e => e.required = false")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("cause")
    expect(page.locator("#decision input[name=action][value=correct]")).to_be_checked()
    ready(page)
    page.get_by_label("Why it was contested").select_option("hard_case")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Settled.")).to_be_visible()
    (row,) = rows(desk, AdjudicationRow)
    assert (row.adjudicator, row.input, row.action, row.cause) == ("lead", "harmful", "correct", "hard_case")
    expect(page.get_by_role("heading", name="Settle it")).to_have_count(0)


def test_a_moderator_escalates_and_nobody_settles_their_own(opened, desk):
    """`e`, a reason, urgent: contested in the urgent queue, with the comment; who decided an item may not settle it."""
    page = opened("bob")
    open_item(page, desk, 5)
    page.keyboard.press("e")
    expect(page.get_by_label("What a lead should know")).to_be_focused()
    page.keyboard.type("she names a bridge")
    page.get_by_label("Somebody may be about to be hurt").check()
    assert violations(page) == []
    page.get_by_role("button", name="Escalate it").press("Enter")
    expect(page.get_by_text("Escalated.")).to_be_visible()
    (item,) = rows(desk, ReviewItem, id=item_id(desk.ids[5], "flagged"))
    assert (item.queue, item.state, item.priority) == ("urgent", "contested", 0)
    page = opened("lead")
    page.goto("/queue?queue=urgent&state=contested")
    page.get_by_role("link", name=item.id[5:13]).press("Enter")
    expect(page.get_by_text("she names a bridge")).to_have_count(1)
    desk.run(decide(desk.store, desk.ids[1], Decision("lead", input="ok")))
    desk.run(decide(desk.store, desk.ids[1], Decision("ada", input="unsure")))
    allow(page, "422")
    page.goto(f"/items/{item_id(desk.ids[1], 'flagged')}")
    ready(page)
    page.keyboard.press("s")
    page.get_by_label("Why it was contested").select_option("other")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("nobody adjudicates what they decided")


def test_an_appeal_is_heard(opened, desk):
    """It stands among the appeals, its item shows the client's words as text, and the decision is what it is told."""
    page = opened("ada", color_scheme="dark")
    page.goto("/voices")
    expect(page.get_by_role("row", name="received")).to_be_visible()
    page.locator("[aria-labelledby=h-appeals] a").first.press("Enter")
    expect(page.get_by_text("It was about a board game.")).to_contain_text("<script>alert(1)</script>")
    assert "ada@example" not in page.content()
    assert page.evaluate(ALIEN) == 0
    assert violations(page) == []
    ready(page)
    page.keyboard.press("n")
    expect(page.get_by_role("heading", name="Decide")).to_be_visible()
    ready(page)
    for key in ("s", "o", "Control+Enter"):
        page.keyboard.press(key)
    expect(page.get_by_text("Decided.")).to_be_visible()
    page.goto("/voices")
    expect(page.locator("section[aria-labelledby=h-appeals]")).to_contain_text(re.compile("in review|overturned"))
    (lodged,) = rows(desk, AppealRow)
    assert lodged.status != "upheld"  # it is told once the decision can no longer be undone


def test_groups_and_search_lead_to_items(opened, desk):
    """Three texts alike are one group; it, a tenant, a category and a day find items; a wrong day is told."""
    page = opened("auditor")
    page.goto("/voices")
    group = page.locator("[aria-labelledby=h-groups] li").first
    expect(group).to_contain_text("3 alike")
    group.get_by_role("link").press("Enter")
    expect(page.locator("main tbody tr")).to_have_count(1)
    for asked, found in (
        (f"text={desk.ids[0]}", 1),
        ("category=sexual", 1),
        ("category=sexual&tenant=nobody", 0),
        ("outcome=refused_input", None),
        ("since=2999-01-01", 0),
    ):
        page.goto(f"/search?{asked}")
        if found is not None:
            assert page.locator("main tbody tr").count() == found, asked
    expect(page.get_by_text("Nothing found")).to_be_visible()
    allow(page, "409")
    page.goto("/search?since=tomorrow")
    expect(page.get_by_role("alert")).to_contain_text("is no date")
    assert violations(page) == []


def test_an_admin_looks_after_users(opened, desk):
    """A new user, roles, a new one-time password and the end of an account, which ends the session; never their own."""
    page = opened("admin")
    page.goto("/users")
    page.locator("#login").fill("carol")
    page.get_by_role("button", name="Create").press("Enter")
    made = page.get_by_role("alert")
    expect(made).to_contain_text("One-time password of carol")
    password = made.locator("code").inner_text()
    assert violations(page) == []
    theirs = opened(None)
    log_in(theirs, "carol", password)
    expect(theirs.get_by_text("for one time")).to_be_visible()
    row = page.get_by_role("row", name="carol")
    row.get_by_label("lead", exact=True).check()
    row.get_by_role("button", name="Set").press("Enter")
    expect(page.get_by_text("Saved.")).to_be_visible()
    expect(page.get_by_role("row", name="carol").get_by_label("lead", exact=True)).to_be_checked()
    page.get_by_role("row", name="carol").get_by_role("button", name="Disable").press("Enter")
    expect(page.get_by_role("row", name="carol")).to_contain_text("disabled")
    theirs.goto("/password")
    assert theirs.url.endswith("/login")
    allow(page, "422")
    page.get_by_role("row", name=re.compile("^admin")).get_by_role("button", name="Disable").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("nobody disables themselves")


def test_quality_and_audit_tell_what_was_done(opened, desk):
    """Decisions become figures or a reason why there are none; the log is read by who and what, page after page."""
    desk.run(decide(desk.store, desk.ids[7], Decision("ada", input="ok", action="over_block")))
    page = opened("auditor")
    page.goto("/quality")
    expect(page.get_by_role("heading", name="The guards, by their reviewers' word")).to_be_visible()
    expect(page.get_by_text("10 are needed").first).to_be_visible()
    expect(page.get_by_text("Unknown: 0 decided of 0 sampled")).to_be_visible()
    page.goto("/audit?actor=ada&action=decide")
    assert page.locator("main tbody tr").count() >= 1
    assert {r.inner_text() for r in page.locator("main tbody td:nth-child(3)").all()} == {"ada"}
    page.goto("/audit?action=nothing")
    expect(page.locator("main tbody tr")).to_have_count(0)
    assert violations(page) == []


def test_a_full_day_and_a_late_urgent_item_are_told(opened, desk):
    """Past the day's budget a break is offered, which gives all back; an urgent item past its target is an alert."""
    desk.run(late(desk))
    page = opened("moderator")
    open_item(page, desk, 0)
    expect(page.get_by_role("link", name="A break is due")).to_be_visible()
    page.goto("/")
    expect(page.get_by_text("as much today as is planned for a day")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("1 item is past the target of 15 min in urgent.")
    assert violations(page) == []
    page.get_by_role("button", name="Take a break").press("Enter")
    expect(page.get_by_text("Your items are given back.")).to_be_visible()
    page.goto("/queue?queue=urgent")
    expect(page.locator("td.late")).to_have_count(1)


async def late(desk):
    """One urgent item that should have been looked at an hour ago."""
    async with desk.store.write() as connection:
        one = sa.update(ReviewItem).where(ReviewItem.id == item_id(desk.ids[2], "flagged"))
        await connection.execute(one.values(queue="urgent", due_at=time.time() - 3600))


def test_an_empty_page_a_closed_one_and_an_ended_session(opened, desk):
    """Nothing to show is said, what is not theirs refused by name; an ended session leads to the login."""
    page = opened("moderator")
    page.goto("/queue?queue=default&category=iban")
    expect(page.get_by_text("Nothing here.")).to_be_visible()
    allow(page, "403", "401")
    page.goto("/audit")
    expect(page.get_by_role("alert")).to_contain_text("for the roles admin, auditor")
    page.goto("/queue?queue=restricted")
    expect(page.get_by_role("alert")).to_contain_text("clearance")
    assert violations(page) == []
    open_item(page, desk, 6)

    async def end():
        async with desk.store.write() as connection:
            await connection.execute(sa.delete(SessionRow))

    desk.run(end())
    page.keyboard.press("r")
    page.wait_for_url("**/login")
    page.goto("/")
    assert page.url.endswith("/login")
