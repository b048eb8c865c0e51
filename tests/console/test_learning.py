"""Models, datasets, exports and policies in a real browser: read by those who answer for them, moved by operators."""

import hashlib
import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import expect

import guards
from guards.policy import Policies, parse_file
from service.gate.exchange import Role
from service.learning.lineage import Candidate, Run, add_dataset, add_model, add_run
from service.ledger.desk import ExportRow
from service.ledger.keys import KeyRing
from service.ledger.lineage import PromotionRow
from service.ledger.policies import note
from service.ledger.routing import item_id
from service.review.decisions import Decision, decide
from tests.console.conftest import allow
from tests.console.hostile import TEXTS
from tests.console.test_axe import violations
from tests.console.test_hostile import ALIEN
from tests.console.world import POLICY, sow, world

SHIPPED = Path(guards.__file__).with_name("models") / "default"
DIGEST = "d" * 64
CHECKS = [
    {"name": "recall", "category": "harm", "candidate": 0.91, "serving": 0.9, "difference": 0.01, "low": -0.01,
     "high": 0.03, "passed": True},
    {"name": TEXTS[3], "category": TEXTS[44], "candidate": None, "serving": "no number", "passed": False},
]  # fmt: skip


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A console, decided traffic, and three versions of a guard: one passed its gates, one failed, one is hostile."""
    home = tmp_path_factory.mktemp("home")
    (home / "policy.yaml").write_text("name: own\nversion: 7\nguards: [patterns]\ninput: {secret: {action: flag}}\n")
    with world(home, policy=home / "policy.yaml") as made:
        sow(made, 2)
        made.run(decide(made.store, made.ids[0], Decision("cli", input="ok", action="over_block")))
        made.run(add_dataset(made.store, "reviewed", "d" * 12, DIGEST, {}, made.ids, "key_train"))
        for number, (passed, card) in enumerate([(True, "A card."), (False, "none"), (True, "\n".join(TEXTS))]):
            register(made, f"0.{number}", passed, card)
        yield made


def register(made, version, passed, card):
    folder = made.settings.registry_folder / "models" / "default" / version
    folder.mkdir(parents=True)
    manifest = json.loads((SHIPPED / "guard.json").read_text())
    for name in manifest["files"]:
        (folder / name).write_bytes(f"{name} {version}".encode())
        manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "guard.json").write_text(json.dumps(manifest | {"version": version}))
    digest = manifest["files"]["model.onnx"]
    gates = {"passed": passed, "checks": CHECKS}
    own = {"datasets": [DIGEST], "gates": gates, "card": card}
    candidate = Candidate("guard", "default", version, digest, f"models/default/{version}", **own)
    made.run(add_model(made.store, made.settings.registry_folder, candidate, "key_train"))


def promotions(made):
    async def read():
        async with made.store.read() as session:
            rows = await session.scalars(sa.select(PromotionRow).order_by(PromotionRow.seq))
            return [(r.by, r.action, r.model_id, r.reason, r.override) for r in rows if r.action != "register"]

    return made.run(read())


def test_an_operator_moves_a_version_and_rolls_it_back(opened, desk):
    """To shadow and into force with a reason each, then one step back; the record says who and why."""
    page = opened("operator")
    page.goto("/models")
    page.get_by_role("link", name="default@0.0").press("Enter")
    for to in ("shadow", "enforced"):
        page.locator(f"[name=to][value={to}]").check()
        page.get_by_label("Why; kept with the change").fill(f"because {to}")
        page.get_by_role("button", name="Move it").press("Enter")
        expect(page.get_by_text("Moved.")).to_be_visible()
        expect(page.locator(f".stage-{to}")).to_be_visible()
        assert violations(page) == []
    page.get_by_label("Why", exact=True).fill("it refuses recipes")
    page.get_by_role("button", name="Roll back").press("Enter")
    expect(page.get_by_text("Rolled back.")).to_be_visible()
    assert promotions(desk)[-3:] == [
        ("operator", "shadow", "default@0.0", "because shadow", False),
        ("operator", "enforce", "default@0.0", "because enforced", False),
        ("operator", "rollback", None, "it refuses recipes", False),
    ]


def test_gates_stop_an_operator_and_an_admin_says_why(opened, desk):
    """A version that failed its gates goes nowhere; an admin may move it all the same, and that is written down."""
    page = opened("operator")
    page.goto("/models/default/0.1")
    assert page.get_by_label("Although its gates did not pass").count() == 0
    page.locator("[name=to][value=canary]").check()
    page.get_by_label("Why; kept with the change").fill("try it")
    allow(page, "422")
    page.get_by_role("button", name="Move it").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("did not pass its gates")
    expect(page.get_by_label("Why; kept with the change")).to_have_value("try it")
    assert violations(page) == []
    page = opened("admin")
    page.goto("/models/default/0.1")
    page.locator("[name=to][value=canary]").check()
    page.get_by_label("Share of exchanges").fill("20")
    page.get_by_label("Although its gates did not pass").check()
    page.get_by_label("Why; kept with the change").fill("the gate is wrong")
    page.get_by_role("button", name="Move it").press("Enter")
    expect(page.get_by_text("for 20 % of exchanges")).to_be_visible()
    expect(page.get_by_text("against its gates")).to_be_visible()
    assert promotions(desk)[-1] == ("admin", "canary", "default@0.1", "the gate is wrong", True)


def test_a_canary_may_be_for_some_keys_alone(opened, desk):
    """Keys are given by id; one that is unknown is told and nothing is lost; without a share nobody else is judged."""
    _, key = desk.run(KeyRing(desk.store).create("acme", Role.CLIENT))
    page = opened("operator")
    page.goto("/models/default/0.2")
    page.locator("[name=to][value=canary]").check()
    page.get_by_label("Share of exchanges").fill("")
    page.get_by_label("Keys whose exchanges").fill(f"{key.id}, key_unknown")
    page.get_by_label("Why; kept with the change").fill("the testers first")
    allow(page, "422")
    page.get_by_role("button", name="Move it").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("there is no live key key_unknown")
    expect(page.get_by_label("Keys whose exchanges")).to_have_value(f"{key.id}, key_unknown")
    page.get_by_label("Keys whose exchanges").fill(key.id)
    page.get_by_role("button", name="Move it").press("Enter")
    expect(page.get_by_text(f"for the keys {key.id}")).to_be_visible()
    page.goto("/models")
    expect(page.get_by_role("row", name="default@0.2 guard")).to_contain_text("canary, 1 key")
    assert promotions(desk)[-1][1:3] == ("canary", "default@0.2")


def test_runs_are_listed(opened, desk):
    """What was trained by which recipe from what, how it ended and how long it took; texts in it are text."""
    own = {"recipe": "guard", "recipe_digest": "c" * 64, "datasets": [DIGEST], "revision": "abc"}
    desk.run(add_run(desk.store, Run("run-1", "guard", **own, state="running"), "key_train"))
    desk.run(add_run(desk.store, Run("run-1", "guard", **own, state="done"), "key_train"))
    desk.run(add_run(desk.store, Run(TEXTS[3], "dpo", **own | {"datasets": []}, state="failed"), "key_train"))
    page = opened("auditor")
    page.goto("/models")
    row = page.get_by_role("row", name="run-1")
    for words in ("guard cccccccc", "reviewed@dddddddddddd", "done"):
        expect(row).to_contain_text(words)
    expect(page.get_by_role("row", name="dpo")).to_contain_text("failed")
    assert page.evaluate(ALIEN) == 0
    assert violations(page) == []


def test_others_look_and_change_nothing(opened, desk):
    """A lead and an auditor see versions, gates and datasets, and no form that moves anything."""
    for login in ("lead", "auditor"):
        page = opened(login)
        page.goto("/models")
        expect(page.get_by_role("row", name="reviewed dddd")).to_contain_text("default@0.0")
        assert page.locator("main form").count() == 0
        page.goto("/models/default/0.0")
        expect(page.get_by_role("cell", name="0.91")).to_be_visible()
        assert page.locator("main form").count() == 0
        assert violations(page) == []


def test_cards_and_gates_made_to_do_harm_are_text(opened, desk):
    """What a trainer wrote is shown as text; a number that is none is a dash; an unknown version is told."""
    page = opened("admin", color_scheme="dark")
    page.goto("/models/default/0.2")
    assert page.evaluate(ALIEN) == 0
    expect(page.get_by_text("<img src=x onerror=alert(4)>").first).to_be_visible()
    expect(page.get_by_role("row", name="img src=x").get_by_role("cell", name="– to –")).to_be_visible()
    assert violations(page) == []
    allow(page, "409")
    page.goto("/models/default/9.9")
    expect(page.get_by_role("alert")).to_contain_text("there is no version")


def test_an_export_is_downloaded_and_written_down(opened, desk):
    """The file holds the rows of the command; who took it, how many and its digest are listed."""
    page = opened("operator")
    page.goto("/models")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").press("Enter")
    data = download.value.path().read_bytes()
    assert download.value.suggested_filename.startswith("guards-")
    assert data.count(b"\n") == 1
    page.reload()
    expect(page.get_by_role("row", name="operator")).to_contain_text(hashlib.sha256(data).hexdigest()[:12])
    assert desk.run(desk.store.count(ExportRow)) == {"exports": 1}


def test_policies_show_how_the_file_differs(opened, desk):
    """The policy in force by name, version and digest, and line by line where it is not the shipped one."""
    page = opened("moderator")
    page.goto("/policies")
    expect(page.get_by_role("heading", name="own, version 7")).to_be_visible()
    expect(page.locator(".code")).to_contain_text("+guards: [patterns]")
    expect(page.get_by_text("Nothing is noted yet")).to_be_visible()
    assert violations(page) == []


def test_policies_show_what_was_in_force(opened, desk):
    """Every noted file with when, by which gateway, what it changed and its text; an item leads to the one it had."""
    texts = [f"name: own\nversion: {n}\nguards: [patterns]\ninput: {{secret: {{action: flag}}}}\n" for n in (8, 9)]
    for at, text in enumerate(texts):
        desk.run(note(desk.store, parse_file(text), 1e9 + at, f"gateway-{at}"))
    desk.run(note(desk.store, Policies.only(POLICY), 1e9 + 2, "<b>gateway</b>"))
    page = opened("moderator")
    page.goto("/policies")
    newest, changed, _ = page.locator("section[aria-labelledby=h-was] details").all()
    expect(newest).to_contain_text("<b>gateway</b>")
    changed.locator("summary").press("Enter")
    expect(changed).to_contain_text("2001-09-09 01:46:41 UTC, first by gateway-1")
    expect(changed.locator(".code").first).to_contain_text("-version: 8")
    expect(changed.locator(".code").last).to_contain_text("version: 9")
    assert page.evaluate(ALIEN) == 0
    assert violations(page) == []
    page.goto(f"/items/{item_id(desk.ids[1], 'flagged')}")
    expect(page.get_by_role("link", name="console, version 3")).to_have_attribute("href", f"/policies#{POLICY.digest}")
