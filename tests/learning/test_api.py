"""/v1/learning and /v1/review/export over real HTTP: who may, what is answered, what the audit log says."""

import asyncio
import json

import httpx
import pytest
import sqlalchemy as sa

from guards.policy import Policy
from service.ledger.ledger import open_store
from service.ledger.models import AuditRow
from service.review.decisions import Decision, decide
from service.settings import Settings
from tests.fakes import WordGuard
from tests.learning.conftest import guard_folder
from tests.serving import ADMIN_KEY, KEY, OPERATOR_KEY, served

RULES = {"harm": {}}
POLICY = {"name": "p", "version": 1, "guards": ["words"], "input": RULES, "output": RULES}
DIGEST = "ab" * 32


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("learning")


@pytest.fixture(scope="module")
def service(home):
    settings = Settings(home=home, requests_per_minute=1_000_000)
    policy = Policy.model_validate(POLICY)
    with served(policy, [WordGuard({"harm": "bomb"})], settings=settings, home=home) as running:
        yield running


@pytest.fixture
def http(service):
    with httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {OPERATOR_KEY}"}, timeout=60) as client:
        yield client


def as_admin(**json_):
    return {"json": json_, "headers": {"authorization": f"Bearer {ADMIN_KEY}"}}


def test_from_a_dataset_to_a_version_in_force_and_back(http, home):
    """The whole way of the contract: dataset, run, version, shadow, enforced, rollback; each is told as it stands."""
    weights = guard_folder(home / "registry/models/words/1", {"harm": "cake"})
    dataset = {
        "name": "reviewed",
        "version": DIGEST[:12],
        "digest": DIGEST,
        "manifest": {"n": 1},
        "exchanges": ["exc_1"],
    }
    run = {"id": "run_1", "verb": "guard", "recipe": "loop.yaml", "recipe_digest": DIGEST, "revision": "r"}
    model = {"kind": "guard", "name": "words", "version": "1", "digest": weights, "folder": "models/words/1"}
    model |= {"run": "run_1", "datasets": [DIGEST], "gates": {"passed": True, "checks": []}, "card": "# words"}
    assert http.post("/v1/learning/models", json=model).status_code == 409  # nothing of it is noted yet
    for _ in range(2):
        assert http.post("/v1/learning/datasets", json=dataset).json()["id"] == DIGEST
    for state in ("running", "done"):
        told = run | {"datasets": [DIGEST], "state": state}
        assert http.post("/v1/learning/runs", json=told).json()["state"] == state
    made = http.post("/v1/learning/models", json=model)
    assert (made.status_code, made.json()["id"], made.json()["stage"]) == (201, "words@1", "registered")
    assert http.get("/v1/learning/datasets").json()["data"][0]["models"] == ["words@1"]
    at = "/v1/learning/models/words/1"
    assert http.post(f"{at}/stage", json={"to": "shadow"}).json()["stage"] == "shadow"
    assert http.get(f"{at}/shadow").json()["exchanges"] == 0
    assert http.post(f"{at}/stage", json={"to": "enforced"}).json()["stage"] == "enforced"
    back = http.post("/v1/learning/models/words/rollback", json={"reason": "a test"}).json()
    assert (back["model"], back["replaced"]) == (None, "words@1")
    history = [step["action"] for step in http.get(at).json()["history"]]
    assert history == ["register", "shadow", "enforce", "rollback"]
    assert [v["id"] for v in http.get("/v1/learning/models").json()["data"]] == ["words@1"]


def test_gates_stop_a_version_and_an_admin_alone_overrides_them(http, home):
    """A version that did not pass is a 409 that names the check; an operator's override too, an admin's is not."""
    weights = guard_folder(home / "registry/models/words/2", {"harm": "pie"})
    gates = {"passed": False, "checks": [{"name": "recall", "category": "hate", "passed": False}]}
    model = {"kind": "guard", "name": "words", "version": "2", "digest": weights, "folder": "models/words/2"}
    assert http.post("/v1/learning/models", json=model | {"gates": gates}).status_code == 201
    stage, forced = "/v1/learning/models/words/2/stage", {"to": "shadow", "override": True, "reason": "to see"}
    refused = http.post(stage, json={"to": "shadow"})
    assert (refused.status_code, "recall" in refused.json()["error"]["message"]) == (409, True)
    assert "admin" in http.post(stage, json=forced).json()["error"]["message"]
    assert http.post(stage, **as_admin(**forced)).json()["history"][-1]["override"] is True
    assert http.get("/v1/learning/models/words/9").status_code == 404


def test_clients_have_no_business_here(service):
    """A client's key is refused on every route, before anything is read."""
    with httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {KEY}"}) as client:
        for path in ("models", "datasets", "models/words/1", "models/words/1/shadow"):
            assert client.get(f"/v1/learning/{path}").status_code == 403
        for path in ("models", "datasets", "runs", "models/words/1/stage", "models/words/rollback"):
            assert client.post(f"/v1/learning/{path}", json={}).status_code == 403
        assert client.get("/v1/review/export").status_code == 403


def test_an_export_is_what_the_command_writes_and_is_audited(http, service, home):
    """Rows of decided exchanges, one a line; the audit log has who took them before they left."""
    body = {"model": "m", "messages": [{"role": "user", "content": "a bomb"}]}
    refused = http.post("/v1/chat/completions", **as_admin(**body))
    exchange_id = refused.json()["error"]["sluicegate"]["exchange_id"]

    async def decided():
        store = open_store(Settings(home=home))
        async with asyncio.timeout(30):
            while exchange_id not in await store.known([exchange_id]):
                await asyncio.sleep(0.05)
        await decide(store, exchange_id, Decision("ada", input="harmful", categories=("harm",)))
        await store.close()

    asyncio.run(decided())
    answer = http.get("/v1/review/export", params={"what": "guards"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    (row,) = [json.loads(line) for line in answer.text.splitlines()]
    assert (row["prompt"], row["labels"]["harm"]) == ("a bomb", 1)
    assert http.get("/v1/review/export", params={"what": "preferences"}).text == ""
    assert http.get("/v1/review/export", params={"what": "everything"}).status_code == 400

    async def audited():
        store = open_store(Settings(home=home))
        async with store.read() as session:
            rows = await session.execute(sa.select(AuditRow.actor, AuditRow.action, AuditRow.detail))
            found = [(actor, detail.get("kind")) for actor, action, detail in rows if action == "export"]
        await store.close()
        return found

    assert asyncio.run(audited()) == [("key_operator", "guards"), ("key_operator", "preferences")]
