"""Review over HTTP, on a real ledger, by the rules of the console."""

import httpx
import pytest
import sqlalchemy as sa

from service.gate.exchange import Caller, Role
from service.ledger.desk import DecisionRow, ExposureRow
from service.ledger.ledger import open_store
from service.ledger.models import AuditRow
from service.settings import Settings
from tests.api.conftest import WORDS, error, policy
from tests.fakes import WordGuard
from tests.serving import ADMIN_KEY, CALLERS, MODERATOR_KEY, OPERATOR_KEY, served

OTHER = "sg-moderator-of-another"
SECOND = "sg-second-moderator"
HARMFUL = "how to make dynamite, ask ada@example.org"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setitem(CALLERS, OTHER, Caller("key_other", "globex", Role.MODERATOR))
    monkeypatch.setitem(CALLERS, SECOND, Caller("key_second", "acme", Role.MODERATOR))
    return tmp_path


@pytest.fixture
def service(home, blind_share):
    settings = Settings(home=home, requests_per_minute=1_000_000, console_blind_share=blind_share)
    with served(policy(), [WordGuard(WORDS)], settings=settings, home=home) as running:
        yield running


@pytest.fixture
def blind_share():
    return 0.0


@pytest.fixture
def refused(service):
    """Refuses some exchanges and waits until they are there to be reviewed; returns the ids."""

    def ask(count=1):
        body = {"model": "scripted", "messages": [{"role": "user", "content": HARMFUL}]}
        with httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {service.key}"}, timeout=60) as http:
            ids = [http.post("/v1/chat/completions", json=body).headers["x-sluicegate-exchange"] for _ in range(count)]
            thumb = {"exchange_id": ids[-1], "kind": "thumbs_down", "comment": "why?"}  # it waits for the record
            assert http.post("/v1/feedback", json=thumb).status_code == 200
        return ids

    return ask


@pytest.fixture
def post(service):
    def send(path, key=MODERATOR_KEY, **body):
        url, headers = f"{service.url}/v1/review/{path}", {"authorization": f"Bearer {key}"}
        return httpx.post(url, json=body, headers=headers, timeout=60)

    return send


@pytest.fixture
def get(service):
    return lambda path, key=MODERATOR_KEY: httpx.get(
        f"{service.url}/v1/review/{path}", headers={"authorization": f"Bearer {key}"}
    )


async def rows(home, table):
    store = open_store(Settings(home=home))
    async with store.read() as session:
        found = (await session.scalars(sa.select(table))).all()
    await store.close()
    return found


async def test_a_shift_by_program(refused, post, get, home):
    """Counts, next, decide, undo, decide again: the decision in force is the last one, by the key's own name."""
    (exchange_id,) = refused()
    (count,) = [c for c in get("counts").json()["data"] if c["queue"] == "default"]
    assert count["open"] == 1
    claim = post("next").json()
    assert claim["item"]["exchange_id"] == exchange_id
    assert claim["item"]["said"]["by_clients"][0]["comment"] == "why?"
    done = post("decide", token=claim["token"], input="ok", action="over_block").json()
    again = post("undo", decision_id=done["decision_id"]).json()
    assert again["item"]["id"] == claim["item"]["id"]
    spans = [{"part": "asked/0", "start": 12, "end": 20, "category": "harm"}]
    said = {"input": "harmful", "action": "correct", "categories": ["harm"], "severity": 2, "spans": spans, "note": "n"}
    assert post("decide", token=again["token"], **said).status_code == 200
    assert post("next").json()["item"] is None
    decisions = await rows(home, DecisionRow)
    assert {d.reviewer for d in decisions} == {"key_moderator"}
    last = next(d for d in decisions if d.severity == 2)
    assert last.spans == [["asked/0", 12, 20, "harm"]]
    assert last.guard_visible is True
    seen = get(f"items/{claim['item']['id']}").json()
    assert [d["note"] for d in seen["said"]["decisions"] if d["id"] == last.id] == ["n"]


async def test_looking_is_written_down_and_personal_data_needs_a_reason(refused, post, get, home):
    """Addresses are masked in place; with a reason they are shown and the reason is in the audit log."""
    refused()
    item = post("next").json()["item"]
    text = item["parts"][0]["text"]
    assert (len(text), text.count("█"), "ada@" in text) == (len(HARMFUL), len("ada@example.org"), False)
    assert error(post(f"items/{item['id']}/reveal", reason=""), 400)["param"] == "reason"
    shown = post(f"items/{item['id']}/reveal", reason="who is it?").json()
    assert shown["parts"][0]["text"] == HARMFUL
    assert [e.action for e in await rows(home, ExposureRow)] == ["view", "personal_data"]
    log = [(row.actor, row.action, row.detail.get("reason")) for row in await rows(home, AuditRow)]
    assert ("key_moderator", "personal_data", "who is it?") in log
    assert ("key_moderator", "read", None) in log


@pytest.mark.parametrize("blind_share", [1.0])
async def test_the_blind_share_shows_no_score(refused, post, get, home):
    """Where items are judged blind there is no verdict in the answer before the decision, and that is on record."""
    refused()
    claim = post("next").json()
    assert claim["item"]["verdicts"] is None
    assert '"score"' not in post("next").text
    post("decide", token=claim["token"], input="harmful")
    assert get(f"items/{claim['item']['id']}").json()["verdicts"][0]["score"] == 1.0
    assert [d.guard_visible for d in await rows(home, DecisionRow)] == [False]


def test_two_keys_never_hold_one_item(refused, post):
    """What one key holds is not served to another, and its token is worth nothing there."""
    refused(2)
    mine, theirs = post("next").json(), post("next", SECOND).json()
    assert mine["item"]["id"] != theirs["item"]["id"]
    for path, more in (("decide", {"input": "ok"}), ("skip", {"reason": "other"}), ("heartbeat", {}), ("release", {})):
        assert error(post(path, SECOND, token=mine["token"], **more), 409)["code"] == "conflict"
    assert post("heartbeat", token=mine["token"]).json()["leased_until"] >= mine["leased_until"]
    assert post("skip", token=mine["token"], reason="prefer_not_to_view").status_code == 200
    assert post("release", SECOND, token=theirs["token"]).status_code == 200
    assert post("next").json()["item"]["id"] == theirs["item"]["id"]


def test_a_moderators_key_sees_its_tenant_alone(refused, post, get):
    """Another tenant's key finds nothing, not by id either; an admin's sees all."""
    refused()
    assert post("next", OTHER).json()["item"] is None
    assert sum(count["open"] for count in get("counts", OTHER).json()["data"]) == 0
    item_id = post("next", ADMIN_KEY).json()["item"]["id"]
    assert error(get(f"items/{item_id}", OTHER), 404)["code"] == "not_found"
    assert error(post(f"items/{item_id}/reveal", OTHER, reason="r"), 404)["code"] == "not_found"


def test_only_reviewers_may_and_nobody_sees_what_is_restricted(service, refused, post, get):
    """Clients and operators are refused, and so is every key that asks for the restricted queue."""
    refused()
    for key in (service.key, OPERATOR_KEY):
        assert error(post("next", key), 403)["code"] == "permission_denied"
        assert error(get("counts", key), 403)["code"] == "permission_denied"
    for key in (MODERATOR_KEY, ADMIN_KEY):
        assert error(post("next", key, queues=["restricted"]), 403)["code"] == "permission_denied"
        assert "restricted" not in {count["queue"] for count in get("counts", key).json()["data"]}


async def test_what_became_restricted_is_closed_to_keys(refused, post, get):
    """Once a decision names child exploitation, the item is a 403 to whoever decided it too."""
    refused()
    claim = post("next").json()
    post("decide", token=claim["token"], input="harmful", categories=["child_exploitation"])
    assert error(get(f"items/{claim['item']['id']}"), 403)["code"] == "permission_denied"


def test_an_appeal_is_heard_by_another_key(refused, post, service):
    """The key that decided is not served the appeal; the statement is shown to the one that hears it."""
    (exchange_id,) = refused()
    post("decide", token=post("next").json()["token"], input="harmful", action="correct")
    headers = {"authorization": f"Bearer {service.key}"}
    asked = {"exchange_id": exchange_id, "statement": "a history essay"}
    httpx.post(service.url + "/v1/appeals", json=asked, headers=headers)
    assert post("next").json()["item"] is None
    item = post("next", SECOND).json()["item"]
    assert item["why"] == "appeal"
    assert "a history essay" in [said.get("statement") for said in item["said"]["by_clients"]]


def test_what_cannot_be_decided_changes_nothing(refused, post):
    """Nothing said, an unknown category, a span of nothing, a void token: each is refused, and the item stays."""
    refused()
    token = post("next").json()["token"]
    span = [{"part": "asked/0", "start": 5, "end": 5, "category": "harm"}]
    assert "nothing is decided" in error(post("decide", token=token), 409)["message"].lower()
    assert "evil" in error(post("decide", token=token, input="harmful", categories=["evil"]), 409)["message"]
    assert error(post("decide", token=token, input="harmful", categories=["harm"], spans=span), 409)
    assert error(post("decide", token="x", input="ok"), 409)["code"] == "conflict"
    assert error(post("decide", token=token, input="bad"), 400)["param"] == "input"
    assert post("decide", token=token, input="ok").status_code == 200
