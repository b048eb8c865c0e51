"""A text of a megabyte in a real browser."""

from playwright.sync_api import expect

from service.ledger.routing import item_id
from service.review.console.exhibit import MOST_OPEN
from service.review.exposures import expose
from service.review.parts import CHUNK
from service.review.reviewer import Reviewer
from tests.console.conftest import ready
from tests.console.world import world

MEGABYTE = 1_000_000
UNIT = "Dear support, see https://shop.example/a?b=1 for the photos. \u202eagain\u202c "
PRESS = """
    async () => {
        const began = performance.now();
        for (const key of ['j', 'k', 'j', 'k'])
            document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
        await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
        return (performance.now() - began) / 4;
    }
"""


def test_a_text_of_a_megabyte_stays_usable(opened, tmp_path):
    """The page brings its beginning and `f` the rest; however much was open before, it begins short; keys answer."""
    with world(tmp_path, ("ada",), max_prompt_chars=2 * MEGABYTE) as made:
        exchange = made.ask(("user", f"RUDEWORD {UNIT * 20_000}"[:MEGABYTE] + ">>>Short."))
        made.settle()
        page, item = opened("ada", made), item_id(exchange, "flagged")
        page.goto(f"/items/{item}")
        assert len(page.content()) < 100_000
        ready(page)
        for left in ("992,009", "988,009"):
            page.keyboard.press("f")
            expect(page.get_by_role("button", name=f"{left} characters are left")).to_have_count(1)
        for number in range(3, 2 * MOST_OPEN):
            made.run(expose(made.store, item, Reviewer("ada"), f"asked/0@{number}", CHUNK, "reveal"))
        page.goto(f"/items/{item}")
        ready(page)
        assert page.locator(".part").first.locator(".text").count() == MOST_OPEN
        page.keyboard.press("f")
        left = f"{MEGABYTE + 9 - (MOST_OPEN + 1) * CHUNK:,}"
        expect(page.get_by_role("button", name=f"{left} characters are left")).to_have_count(1)
        spent = page.evaluate(PRESS)
        assert spent < 2000, f"{spent:.0f} ms for a key"
