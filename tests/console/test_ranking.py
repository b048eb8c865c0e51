"""Rankings in a real browser: by keyboard, without a script, with hostile answers, in every state."""

import pytest
import sqlalchemy as sa
from playwright.sync_api import expect

from service.ledger.desk import CandidateRow, RankingRow
from service.review.rankings import Drawn, ask, preferred
from tests.console.conftest import allow, ready, watch
from tests.console.hostile import TEXTS
from tests.console.test_axe import violations
from tests.console.test_hostile import ALIEN, READ
from tests.console.world import world


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A console, and harmless exchanges that answers can be said to come from."""
    with world(tmp_path_factory.mktemp("home"), ("ada", "bob")) as made:
        made.ids = [made.ask(("user", f"a harmless question, number {n}")) for n in range(4)]
        made.settle()
        yield made


@pytest.fixture
def put(desk):
    """`put(*answers)`: a question with these answers waits to be ranked, and nothing of other tests does."""

    async def clear():
        async with desk.store.write() as connection:
            for table in (RankingRow, CandidateRow):
                await connection.execute(sa.delete(table))

    desk.run(clear())

    def task(*answers):
        drawn = [Drawn(id_, f"model-{n}", a) for n, (id_, a) in enumerate(zip(desk.ids, answers, strict=False))]
        desk.run(ask(desk.store, "Which is best?", drawn, "lead"))
        return desk

    return task


def said(made):
    async def read():
        async with made.store.read() as session:
            return list(await session.scalars(sa.select(RankingRow)))

    return made.run(read())


def test_a_ranking_by_keyboard_alone(opened, put):
    """Digits place one answer after the other, `q` scores, `p` edits; what is stored is what was pressed, by name."""
    made = put("one", "two", "three")
    page = opened("ada", made)
    page.goto("/rankings")
    ready(page)
    assert "model-" not in page.content()
    shown = page.locator(".part .text").all_text_contents()
    ids = [p.get_attribute("name").removeprefix("place/") for p in page.locator("[name^=place][value='1']").all()]
    keys = page.keyboard
    for key in ("2", "1", "2"):
        keys.press(key)
    keys.press("k")
    keys.press("q")
    for _ in range(2):
        keys.press("ArrowRight")
    keys.press("p")
    expect(page.get_by_label("A better answer")).to_have_value(shown[1])
    keys.press("End")
    keys.type(", and better2")
    keys.press("Escape")
    keys.press("Control+Enter")
    expect(page.get_by_text("Your ranking is kept.")).to_be_visible()
    expect(page.get_by_text("Nothing waits to be ranked.")).to_be_visible()
    (row,) = said(made)
    assert row.places == {ids[0]: 2, ids[1]: 1, ids[2]: 2}
    assert row.scores == {ids[1]: {"accuracy": 2}}
    assert (row.reviewer, row.all_bad) == ("ada", False)

    async def written():
        return [r["messages"][1]["content"] async for r in preferred(made.store)]

    assert made.run(written()) == [f"{shown[1]}, and better2"]


def test_z_takes_a_ranking_back_as_it_was_filled_in(opened, put):
    """Within its seconds the form comes back with every place, score and word; ranked again, only that counts."""
    made = put("one", "two")
    page = opened("ada", made)
    page.goto("/rankings")
    ready(page)
    for key in ("2", "1", "k", "q", "ArrowRight"):
        page.keyboard.press(key)
    page.get_by_label("A better answer").fill("a third one")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Your ranking is kept.")).to_be_visible()
    assert violations(page) == []
    ready(page)
    page.keyboard.press("z")
    expect(page.get_by_text("Taken back.")).to_be_visible()
    expect(page.locator("[name^=place][value='2']").first).to_be_checked()
    expect(page.locator("[name^=place][value='1']").last).to_be_checked()
    expect(page.locator("[name$=accuracy][value='1']").first).to_be_checked()
    expect(page.get_by_label("A better answer")).to_have_value("a third one")
    ready(page)
    page.keyboard.press("b")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Your ranking is kept.")).to_be_visible()
    assert sorted((row.withdrawn, row.all_bad) for row in said(made)) == [(False, True), (True, False)]


def test_what_is_left_out_is_asked_for_and_nothing_is_lost(opened, put):
    """Without a place for each answer the form comes back as it was filled in; left to others, the next one comes."""
    made = put("one", "two")
    page = opened("ada", made)
    page.goto("/rankings")
    ready(page)
    page.keyboard.press("2")
    page.keyboard.press("b")
    page.get_by_label("A better answer").fill("kept")
    allow(page, "422")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("every candidate has a place")
    assert violations(page) == []
    expect(page.locator("[name^=place][value='2']").first).to_be_checked()
    expect(page.get_by_label("All of them are bad")).to_be_checked()
    expect(page.get_by_label("A better answer")).to_have_value("kept")
    assert said(made) == []
    ready(page)
    page.keyboard.press("x")
    expect(page.get_by_text("1 that you left to others still waits")).to_be_visible()
    page.goto("/")
    expect(page.get_by_role("link", name="1 question waits")).to_be_visible()


def test_a_ranking_without_a_script(opened, put):
    """With JavaScript off every place is a control of the page; a second ranking of the same task is refused."""
    made = put("one", "two")
    page = opened("bob", made, java_script_enabled=False)
    other = page.context.new_page()
    watch(other, made)
    for tab in (page, other):
        tab.goto("/rankings")
        for place in tab.locator("[name^=place][value='1']").all():
            place.check()
    page.get_by_role("button", name="Submit and next").press("Enter")
    expect(page.get_by_text("Your ranking is kept.")).to_be_visible()
    assert set(said(made)[0].places.values()) == {1}
    allow(other, "422")
    other.get_by_role("button", name="Submit and next").press("Enter")
    expect(other.get_by_role("alert")).to_contain_text("you ranked this already")
    assert len(said(made)) == 1


def test_hostile_answers_are_text(opened, put):
    """Answers made to do harm are shown character by character, in both schemes without a violation."""
    for number in range(0, len(TEXTS), 4):
        made = put(*TEXTS[number : number + 4])
    page = opened("ada", made, color_scheme="dark")
    page.goto("/rankings")
    shown = set()
    while page.locator("[data-candidate]").count():
        for answer in page.locator("[data-candidate]").element_handles():
            shown.add("".join(page.evaluate(f"({READ})", t) for t in answer.query_selector_all(".text")))
        assert page.evaluate(ALIEN) == 0
        with page.expect_navigation():
            page.locator("[data-action=leave]").press("Enter")
    assert shown == set(TEXTS)
    page.goto("/rankings")
    assert violations(page) == []
