"""Accessibility of every page and state, by axe-core."""

import pytest
from playwright.sync_api import expect

from service.ledger.routing import item_id
from service.review.decisions import Decision, decide
from tests.console.conftest import allow, ready

SCHEMES = ["light", "dark"]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def violations(page):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options=RULES).response["violations"]
    return [(v["id"], [n["html"][:160] for n in v["nodes"]]) for v in found]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pages_have_no_violation(opened, desk, scheme):
    """Each page by its address, errors too, in light and dark; figures of decisions among them."""
    desk.run(decide(desk.store, desk.ids[2], Decision("cli", input="ok", action="over_block")))
    page = opened("admin", color_scheme=scheme)
    for path in (
        "/",
        "/queue",
        "/search?text=none",
        "/voices",
        "/rankings",
        "/quality",
        "/policies",
        "/audit",
        "/users",
        "/preferences",
        "/keys",
    ):
        page.goto(path)
        assert violations(page) == [], path
    allow(page, "404")
    page.goto("/nothing")
    assert violations(page) == []


def test_the_way_in_has_no_violation(opened):
    """The login, and the login refused."""
    page = opened(None)
    page.goto("/login")
    assert violations(page) == []
    page.get_by_label("Login").fill("nobody")
    page.get_by_label("Password").fill("nothing at all")
    allow(page, "401")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    assert violations(page) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_states_of_an_item_have_no_violation(opened, desk, scheme):
    """Untaken, taken, covered, revealed, with the sheet of keys, with a fault, decided, and narrow."""
    page = opened("ada" if scheme == "light" else "bob", color_scheme=scheme)
    page.goto(f"/items/{item_id(desk.ids[5], 'flagged')}")
    assert violations(page) == []
    ready(page)
    page.keyboard.press("n")
    expect(page.get_by_role("heading", name="Decide")).to_be_visible()
    ready(page)
    assert violations(page) == []
    page.keyboard.press("r")
    expect(page.get_by_text("EXPLICITWORD")).to_have_count(1)
    assert violations(page) == []
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    for key in ("x", "e"):
        page.keyboard.press(key)
        page.keyboard.press("Escape")
    page.set_viewport_size({"width": 420, "height": 800})
    assert violations(page) == []
    allow(page, "422")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("nothing is decided")
    assert violations(page) == []
    page.goto(f"/items/{item_id(desk.ids[4], 'flagged')}")
    if scheme == "light":
        ready(page)
        page.keyboard.press("n")
        expect(page.get_by_role("heading", name="Decide")).to_be_visible()
        ready(page)
        page.keyboard.press("s")
        page.keyboard.press("Control+Enter")
        expect(page.get_by_text("Decided.")).to_be_visible()
        assert violations(page) == []
        page.goto(f"/items/{item_id(desk.ids[4], 'flagged')}")
    assert violations(page) == []
