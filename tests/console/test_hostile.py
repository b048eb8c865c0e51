"""Texts made to do harm, through the gate, the ledger and every page that shows them, in a real browser."""

from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from service.ledger import audit
from service.ledger.routing import item_id
from service.review import console
from service.review.adjudication import comment
from service.review.reviewer import Reviewer
from tests.console.conftest import allow
from tests.console.hostile import TEXTS
from tests.console.world import world

FLAG = " RUDEWORD"
BETWEEN = "\n~~~\n"
READ = """
    element => {
        const read = node => {
            if (node.nodeType === Node.TEXT_NODE) return node.data;
            if (node.dataset.code) return String.fromCodePoint(parseInt(node.dataset.code, 16));
            if (node.dataset.was) return node.dataset.was;
            return [...node.childNodes].map(read).join('');
        };
        return read(element);
    }
"""
ALIEN = """
    () => document.querySelectorAll(
        '.text :not(span), .plain :not(span), .text [href], main :is(iframe, object, embed, img, svg, style)'
    ).length
"""


def batches(most, chars):
    """All texts in order, so many and so long together at most: what a page shows at once."""
    made = [[]]
    for text in TEXTS:
        if len(made[-1]) == most or sum(map(len, made[-1])) + len(text) > chars:
            made.append([])
        made[-1].append(text)
    return made


TURNS = batches(8, 3500)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """Exchanges with each text as a turn, all of these in the last turn and in the answer; comments and audit rows."""
    with world(tmp_path_factory.mktemp("hostile"), ("ada", "admin")) as made:
        made.ids = [made.ask(*(("user", text + FLAG) for text in (*texts, BETWEEN.join(texts)))) for texts in TURNS]
        made.settle()
        item = item_id(made.ids[0], "flagged")
        for text in TEXTS:
            made.run(audit.record(made.store, text[:200].replace("\0", ""), "test", text[:200], reason=text))
            made.run(comment(made.store, item, Reviewer("ada"), "said: " + text))
        yield made


def test_there_are_enough_of_them():
    """At least sixty texts, all different."""
    assert len(set(TEXTS)) == len(TEXTS) >= 60


def test_items_show_exactly_what_was_stored(opened, desk):
    """Of every text, asked and answered, the page shows each character, as text and as nothing else."""
    page = opened("ada")
    for number, texts in enumerate(TURNS):
        page.goto(f"/items/{item_id(desk.ids[number], 'flagged')}")
        shown = [page.evaluate(f"({READ})", one) for one in page.locator(".part .text").element_handles()]
        together = BETWEEN.join(texts) + FLAG
        assert shown == [*(text + FLAG for text in texts), together, together]
        assert page.evaluate(ALIEN) == 0, texts
        assert page.title().startswith("Item ")


def test_comments_and_the_audit_log_show_them_as_text(opened, desk):
    """What reviewers quote and what the log holds is text too, and does nothing."""
    page = opened("ada")
    page.goto(f"/items/{item_id(desk.ids[0], 'flagged')}")
    shown = [
        page.evaluate(f"({READ})", one)
        for one in page.locator("[aria-labelledby=h-comments] li .plain").element_handles()
    ]
    assert shown[1::2] == ["said: " + text for text in TEXTS]
    assert page.evaluate(ALIEN) == 0
    page = opened("admin")
    page.goto("/audit?action=test")
    assert page.evaluate(ALIEN) == 0
    assert page.locator("main tbody tr").count() == len(TEXTS)


def test_search_users_and_errors_show_them_as_text(opened, desk):
    """Whatever is in the address or in a form comes back as text."""
    page = opened("admin")
    allow(page, "404", "400")
    for texts in batches(3, 10_000):
        short = " ".join(text[:60] for text in texts).replace("\0", "")
        page.goto(f"/search?text={quote(short)}")
        assert page.locator("p.note .plain").evaluate(READ) == short.strip()[:200]
        assert page.evaluate(ALIEN) == 0, texts
        page.goto(f"/nothing/{quote(short, safe='')}")
        assert page.evaluate(ALIEN) == 0, texts
    page.goto("/users")
    page.locator("#login").fill("mallory")
    page.locator("#name").fill("<img src=x onerror=alert(1)>\u202e")
    page.get_by_role("button", name="Create").press("Enter")
    expect(page.get_by_text("<img src=x onerror=alert(1)>")).to_be_visible()


def test_no_template_switches_escaping_off():
    """No template and no module of the console marks anything as safe, and no script builds markup from text."""
    folder = Path(console.__file__).parent
    for path in [*folder.glob("**/*.html"), *folder.glob("**/*.py"), folder / "static" / "console.js"]:
        text = path.read_text()
        for word in (
            "|safe",
            "| safe",
            "Markup(",
            "autoescape false",
            "autoescape=False",
            "innerHTML =",
            "insertAdjacentHTML",
        ):
            assert word not in text, path
