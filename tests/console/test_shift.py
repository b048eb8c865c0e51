"""A moderator's day in a real browser, from the keyboard."""

import re

import pytest
import sqlalchemy as sa
from playwright.sync_api import expect

from service.ledger.desk import ClaimRow, DecisionRow, ExposureRow, SkipRow
from service.ledger.models import AuditRow
from service.ledger.routing import item_id
from tests.console.conftest import allow, ready
from tests.console.world import new_database, sow, world


def rows(made, table, **conditions):
    async def read():
        query = sa.select(table).where(*(getattr(table, name) == value for name, value in conditions.items()))
        async with made.store.read() as session:
            return list(await session.scalars(query))

    return made.run(read())


on_both = pytest.mark.parametrize("own", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def own(request, tmp_path):
    """`own(count, **settings)`: a console with traffic of its own; on SQLite where not said otherwise."""
    worlds, database = [], {}
    if getattr(request, "param", "sqlite") == "postgres":
        database["database_url"] = new_database(request.getfixturevalue("postgres"))

    def make(count=2, **settings):
        context = world(tmp_path / str(len(worlds)), ("ada", "bob"), **database, **settings)
        made = context.__enter__()
        worlds.append(context)
        sow(made, count)
        return made

    yield make
    for context in worlds:
        context.__exit__(None, None, None)


@on_both
def test_a_shift_by_keyboard_alone(opened, own):
    """From login to an empty queue without a mouse: parts, judgements, categories, severity, rationale, submit."""
    made = own(3)
    page = opened("ada", made)
    keys = page.keyboard
    keys.press("n")
    for _ in range(3):
        expect(page.get_by_role("heading", name="Decide")).to_be_visible()
        ready(page)
        keys.press("v")
        if page.locator("[data-stage=output]").count():
            keys.press("j")
            keys.press("u")
            keys.press("s")
        for key in ("c", "4", "]", "]", "+", "+", "t"):
            keys.press(key)
        keys.type("cs4 because it is rude")
        keys.press("Escape")
        item = page.url.partition("?")[0]
        keys.press("Control+Enter")
        page.wait_for_url(lambda url, item=item: not url.startswith(item))
    expect(page.get_by_text("Decided.")).to_be_visible()
    expect(page.get_by_role("heading", name="My shift")).to_be_visible()
    said = rows(made, DecisionRow)
    assert len(said) == 3
    for decision in said:
        assert (decision.input, decision.action, decision.categories) == ("harmful", "correct", ["toxicity"])
        assert (decision.severity, decision.confidence, decision.guard_visible) == (2, 0.25, True)
        assert made.run(made.store.texts(decision.exchange_id))[decision.id] == {"note": "cs4 because it is rude"}
        assert 0 < decision.duration_s < 60
    assert {d.output for d in said} <= {"ok", None}
    assert rows(made, ClaimRow) == []


@on_both
def test_undo_brings_the_item_back_as_it_was_filled_in(opened, own):
    """`z` takes the decision back within its seconds: the item is claimed again, and the form says what it said."""
    made = own(2)
    page = opened("ada", made)
    page.keyboard.press("n")
    expect(page.get_by_role("heading", name="Decide")).to_be_visible()
    ready(page)
    first = page.url.partition("?")[0]
    for key in ("s", "o", "1", "Control+Enter"):
        page.keyboard.press(key)
    expect(page.get_by_text("Decided.")).to_be_visible()
    ready(page)
    page.keyboard.press("z")
    expect(page.get_by_text("Taken back.")).to_be_visible()
    assert page.url.startswith(first)
    expect(page.locator("#decision input[name=input][value=ok]")).to_be_checked()
    expect(page.locator("#decision input[name=action][value=over_block]")).to_be_checked()
    expect(page.locator("#decision input[name=category][value=harm]")).to_be_checked()
    assert len(rows(made, ClaimRow)) == 1
    assert [d.withdrawn for d in sorted(rows(made, DecisionRow), key=lambda d: d.at)] == [False, True]


@on_both
def test_two_browsers_never_get_one_item(opened, own):
    """Two reviewers who ask at the same moment for the last item: one has it, the other is told that nothing waits."""
    made = own(1)
    pages = [opened(login, made) for login in ("ada", "bob")]
    for page in pages:
        page.evaluate("setTimeout(() => document.querySelector('[data-action=next]').click(), 50)")
    for page in pages:
        page.wait_for_url(re.compile("items|nothing"))
    assert sorted("nothing" in page.url for page in pages) == [False, True]
    assert len(rows(made, ClaimRow)) == 1


def test_a_blind_item_shows_no_score_before_the_decision(opened, own):
    """With scores hidden nothing of the guards is in the page or on the wire until one has decided; then it is."""
    made = own(1, console_blind_share=1.0)
    page = opened("ada", made)
    bodies = []
    page.on("response", lambda r: bodies.append(r.text()) if r.request.resource_type in ("document", "xhr") else None)
    page.keyboard.press("n")
    expect(page.get_by_text("Hidden until you have decided")).to_be_visible()
    page.wait_for_load_state("networkidle")
    seen = "".join([*bodies, page.content()])
    assert "1.000" not in seen
    assert "score" not in re.sub(r"scores? .*hidden", "", seen.lower())
    assert ">words<" not in seen
    page.keyboard.press("s")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Decided.")).to_be_visible()
    assert [d.guard_visible for d in rows(made, DecisionRow)] == [False]
    page.goto(f"/items/{item_id(made.ids[0], 'flagged')}")
    expect(page.locator("td.score").first).to_have_text("1.000")


def open_item(page, made, number):
    page.goto(f"/items/{item_id(made.ids[number], 'flagged')}")
    ready(page)
    page.keyboard.press("n")
    expect(page.get_by_role("heading", name="Decide")).to_be_visible()
    ready(page)


def test_covered_text_comes_with_the_reveal_that_is_written_down(opened, desk):
    """Text of a covered category is not in the page; `r` brings it and leaves an exposure; holding `r` only peeks."""
    page = opened("ada")
    open_item(page, desk, 5)
    assert "EXPLICITWORD" not in page.content()
    item = item_id(desk.ids[5], "flagged")
    page.keyboard.down("r")
    expect(page.get_by_text("EXPLICITWORD")).to_have_count(1)
    page.keyboard.up("r")
    expect(page.get_by_text("EXPLICITWORD")).to_have_count(0)
    assert [e.action for e in rows(desk, ExposureRow, item_id=item)] == ["peek"]
    page.keyboard.press("r")
    expect(page.get_by_text("EXPLICITWORD")).to_have_count(1)
    peek, reveal = sorted(rows(desk, ExposureRow, item_id=item), key=lambda e: e.at)
    assert (reveal.action, reveal.reviewer, reveal.part) == ("reveal", "ada", "asked/3@0")
    assert reveal.chars == peek.chars == len("A scene, please. EXPLICITWORD things happen, says the book.")
    page.reload()
    expect(page.get_by_text("EXPLICITWORD")).to_have_count(1)
    assert len(rows(desk, ExposureRow, item_id=item)) == 2


def test_personal_data_needs_a_reason(opened, desk):
    """An address and a card are redacted; showing them asks why, and the audit log keeps it."""
    page = opened("ada")
    open_item(page, desk, 3)
    assert "jane.doe" not in page.content()
    assert not re.search(r"\b4111\b", page.content())  # within an id it stands by chance
    page.get_by_text("Personal data is hidden").first.press("Enter")
    page.get_by_label("Why it is needed").first.fill("to see whose address it is")
    page.keyboard.press("Enter")
    expect(page.get_by_text("jane[.]doe@example[.]com").or_(page.get_by_text("4111 1111"))).to_have_count(1)
    entry = rows(desk, AuditRow, action="personal_data")[-1]
    assert (entry.actor, entry.detail["reason"]) == ("ada", "to see whose address it is")


def test_marked_words_have_their_place_in_the_stored_text(opened, desk):
    """A selection that crosses chips and defanged URLs is stored as characters of the text as it was sent."""
    page = opened("ada")
    open_item(page, desk, 4)
    page.keyboard.press("4")
    page.evaluate(
        """() => {
            const text = document.querySelector('.part.judged .text'), range = document.createRange();
            range.setStart(text.firstChild, 5); range.setEnd(text, text.childNodes.length);
            getSelection().removeAllRanges(); getSelection().addRange(range); }"""
    )
    page.keyboard.press("w")
    page.keyboard.press("v")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Decided.")).to_be_visible()
    decision = rows(desk, DecisionRow, exchange_id=desk.ids[4])[-1]
    text = "Look at http://evil.example.com/login?a=1 RUDEWORD \u202eedoc siht\u202c"
    assert decision.spans == [["asked/3", 5, len(text), "toxicity"]]


def test_words_may_be_quoted_instead_of_marked(opened, desk):
    """Typed words are found in the text and stored as a span; words that are not there are refused, nothing is lost."""
    page = opened("bob")
    open_item(page, desk, 0)
    page.keyboard.press("4")
    page.keyboard.press("v")
    page.get_by_label("or copy them").fill("not there")
    page.get_by_label("Rationale").fill("kept")
    allow(page, "422")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("nowhere in the text")
    expect(page.get_by_label("Rationale")).to_have_value("kept")
    page.get_by_label("or copy them").fill("RUDEWORD")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Decided.")).to_be_visible()
    at = "How do I get a refund? RUDEWORD".index("RUDEWORD")
    assert rows(desk, DecisionRow, exchange_id=desk.ids[0])[-1].spans == [["asked/3", at, at + 8, "toxicity"]]


def test_single_keys_can_be_put_behind_alt_or_off(opened, desk):
    """With Alt the bare key does nothing; off, neither does; typing never triggers anything."""
    page = opened("moderator")
    for mode, key in (("with Alt", "Alt+?"), ("off", None)):
        page.goto("/preferences")
        page.get_by_label(mode, exact=True).check()
        page.get_by_role("button", name="Save").press("Enter")
        expect(page.get_by_text("Saved.")).to_be_visible()
        ready(page)
        page.keyboard.press("?")
        expect(page.locator("dialog#keys")).to_be_hidden()
        if key:
            page.keyboard.press(key)
            expect(page.locator("dialog#keys")).to_be_visible()
    page.goto("/preferences")
    page.get_by_label("on", exact=True).check()
    page.get_by_role("button", name="Save").press("Enter")
    page.goto("/search")
    ready(page)
    page.get_by_label("Id begins with").press("?")
    expect(page.get_by_label("Id begins with")).to_have_value("?")
    assert page.locator("dialog#keys").is_hidden()


def test_skipping_takes_a_reason_and_the_item_does_not_come_back(opened, own):
    """`x`, a reason, and the next item: the one skipped is never served to them again."""
    made = own(1)
    page = opened("ada", made)
    page.keyboard.press("n")
    expect(page.get_by_role("heading", name="Decide")).to_be_visible()
    ready(page)
    page.keyboard.press("x")
    expect(page.get_by_label("Reason; never counted against you")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Skipped.")).to_be_visible()
    ready(page)
    assert [s.reason for s in rows(made, SkipRow)] == ["prefer_not_to_view"]
    page.keyboard.press("n")
    expect(page.get_by_text("Nothing waits for you right now.")).to_be_visible()


def test_a_shift_without_a_script(opened, own):
    """With JavaScript off an item is taken, revealed, decided and undone all the same."""
    made = own(6)
    page = opened("ada", made, java_script_enabled=False)
    page.goto(f"/items/{item_id(made.ids[5], 'flagged')}")
    page.get_by_role("button", name="Take this item").press("Enter")
    page.locator(".part.judged").get_by_role("button", name="Reveal").first.press("Enter")
    expect(page.get_by_text("EXPLICITWORD")).to_have_count(1)
    page.locator("#decision input[name=input][value=harmful]").check()
    page.get_by_role("button", name="Submit and next").press("Enter")
    expect(page.get_by_text("Decided.")).to_be_visible()
    page.get_by_role("button", name="Undo").press("Enter")
    expect(page.get_by_text("Taken back.")).to_be_visible()
    said = [(d.input, d.withdrawn) for d in rows(made, DecisionRow)]
    assert said == [("harmful", False), (None, True)]  # both stay; the second takes the first back
