"""Feedback and appeals over HTTP, on a real ledger."""

import httpx
import pytest

from tests.api.conftest import WORDS, error, policy
from tests.fakes import WordGuard
from tests.serving import ADMIN_KEY, MODERATOR_KEY, OPERATOR_KEY, served

NOWHERE = "exc_" + "0" * 32


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with served(policy(), [WordGuard(WORDS)], home=tmp_path_factory.mktemp("record")) as running:
        yield running


def ask(http, text):
    body = {"model": "scripted", "messages": [{"role": "user", "content": text}]}
    return http.post("/v1/chat/completions", json=body).headers["x-sluicegate-exchange"]


def test_an_answer_can_be_rated_and_reported(http, service):
    """Feedback on an answer of a moment ago is kept; the same id gives the same; the count is in the metrics."""
    exchange_id = ask(http, "hello")
    said = {"exchange_id": exchange_id, "kind": "rating", "rating": 4, "id": "a-1"}
    first, again = (http.post("/v1/feedback", json=said).json() for _ in range(2))
    assert first == again
    assert (first["object"], first["exchange_id"], first["kind"]) == ("feedback", exchange_id, "rating")
    report = {"exchange_id": exchange_id, "kind": "report", "categories": ["hate"], "comment": "it insults"}
    assert http.post("/v1/feedback", json=report).status_code == 200
    counted = service.metrics.registry.get_sample_value("sluicegate_feedback_total", {"kind": "report"})
    assert counted == 1


def test_a_refusal_says_how_to_appeal_and_the_appeal_has_a_status(http):
    """The refusal's words name the route; the appeal is received; asking again is the same appeal."""
    body = {"model": "scripted", "messages": [{"role": "user", "content": "dynamite"}]}
    refusal = error(http.post("/v1/chat/completions", json=body))["sluicegate"]
    assert "POST /v1/appeals" in refusal["appeal"]
    asked = {"exchange_id": refusal["exchange_id"], "statement": "It is for a quarry."}
    lodged = http.post("/v1/appeals", json=asked).json()
    assert (lodged["object"], lodged["status"], lodged["decided_at"]) == ("appeal", "received", None)
    assert http.get(f"/v1/appeals/{lodged['id']}").json() == lodged
    assert http.post("/v1/appeals", json=asked).json() == lodged


def test_what_cannot_be_is_said_clearly(http):
    """Unknown ids are 404, an appeal against nothing 409, a field that does not fit 400 with what would."""
    for path, more in (("/v1/feedback", {"kind": "thumbs_up"}), ("/v1/appeals", {"statement": "please"})):
        assert error(http.post(path, json={"exchange_id": NOWHERE} | more), 404)["code"] == "not_found"
    assert error(http.get("/v1/appeals/app_x"), 404)["code"] == "not_found"
    clean = {"exchange_id": ask(http, "hello"), "statement": "please"}
    assert error(http.post("/v1/appeals", json=clean), 409)["code"] == "conflict"
    for more, hint in (
        ({"kind": "rating"}, "1 to 5"),
        ({"kind": "thumbs_up", "rating": 3}, "1 to 5"),
        ({"kind": "thumbs_up", "categories": ["hate"]}, "report"),
        ({"kind": "report", "categories": ["evil"]}, "evil"),
        ({"kind": "hooray"}, "thumbs_up"),
    ):
        response = http.post("/v1/feedback", json={"exchange_id": NOWHERE} | more)
        assert hint in error(response)["message"]


@pytest.mark.parametrize(("key", "status"), [(MODERATOR_KEY, 403), (OPERATOR_KEY, 403), (ADMIN_KEY, 404)])
def test_feedback_is_for_clients(service, key, status):
    """Reviewers and operators do not speak for clients."""
    body = {"exchange_id": NOWHERE, "kind": "thumbs_up"}
    response = httpx.post(service.url + "/v1/feedback", json=body, headers={"authorization": f"Bearer {key}"})
    assert response.status_code == status


def test_without_a_record_nothing_is_promised():
    """A service that keeps no record says so instead of taking feedback to nowhere."""
    with served(policy(), [WordGuard(WORDS)]) as running:
        headers = {"authorization": f"Bearer {running.key}"}
        body = {"exchange_id": NOWHERE, "kind": "thumbs_up"}
        response = httpx.post(running.url + "/v1/feedback", json=body, headers=headers)
    assert error(response, 503)["code"] == "ledger_unavailable"
