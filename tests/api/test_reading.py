"""Models, coverage, health, metrics and the OpenAPI document."""

import httpx
import openai
import pytest

from guards.patterns import PatternGuard
from guards.policy import load
from service.api.coverage import coverage
from tests.api.conftest import WORDS, error, policy
from tests.fakes import MemoryLedger, ScriptedEngine, WordGuard
from tests.serving import OPERATOR_KEY, served


def test_models(client, service):
    """The engine's models are listed and found by id, also one with a slash; an unknown one is a 404."""
    assert [m.id for m in client.models.list()] == ["scripted"]
    assert client.models.retrieve("scripted").object == "model"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("org/other")
    assert caught.value.code == "model_not_found"


def test_coverage(http):
    """The matrix has a cell for every endpoint, direction and channel, and says what is refused as uncovered."""
    found = http.get("/v1/coverage").json()
    assert found["policy"] == {"name": "test", "version": 1, "digest": policy().digest}
    assert found["guards"][0] == {
        "name": "words",
        "version": "1",
        "digest": WordGuard(WORDS).digest,
        "stage": "configured",
        "categories": sorted(WORDS),
        "languages": {"en": {}},
    }
    text = {(c["endpoint"], c["direction"], c["channel"]) for c in found["cells"] if c["modality"] == "text"}
    assert {("chat", "output", c) for c in ("content", "reasoning", "tool_arguments")} <= text
    assert ("completions", "input", "prompt") in text
    assert all(c["covered"] for c in found["cells"] if c["modality"] == "text")
    assert {("responses", "input", "user messages"), ("embeddings", "input", "input")} <= text
    beside = {(c["modality"], c["uncovered"]) for c in found["cells"] if c["modality"] != "text"}
    assert beside == {(m, "refuse") for m in ("image", "audio", "video", "file")} | {("numbers", "allow")}
    harm = found["cells"][0]["categories"]["harm"]
    assert harm == {"action": "refuse", "mode": "enforce", "on_error": "refuse", "guards": ["words"]}


def test_coverage_of_languages():
    """Which languages are covered, by figures or on the operator's word, and what happens to others."""

    class Figures(WordGuard):
        languages = {"en": {}, "de": {"harm": 0.9, "toxicity": 0.8}, "zh": {"harm": 0.9}}  # noqa: RUF012

    guards = [Figures({"harm": "x", "toxicity": "y"}), PatternGuard()]
    rules = {"harm": {}, "toxicity": {"action": "flag"}, "secret": {"action": "redact"}}
    uncovered = {"language": "refuse", "language_recall": 0.6, "accepted_languages": ["fr"]}
    found = coverage(policy(guards=["words", "patterns"], input=rules, output={}, uncovered=uncovered), guards)
    assert found["languages"] == {
        "covered": ["de", "en", "fr"],
        "uncovered": "refuse",
        "escalate": None,
        "least_recall": 0.6,
    }
    assert [g["languages"] for g in found["guards"]] == [Figures.languages, None]


def test_coverage_shows_gaps_and_exemptions():
    """A category that no guard judges has no guards, and one exempt for a kind of text is not in its cell."""
    cells = {c["channel"]: c for c in coverage(load(), [PatternGuard()])["cells"] if "channel" in c}
    assert cells["user messages"]["categories"]["harm"]["guards"] == []
    assert cells["user messages"]["categories"]["secret"]["guards"] == ["patterns"]
    assert "injection" in cells["user messages"]["categories"]
    assert "injection" not in cells["system messages, tool definitions, response schemas"]["categories"]


def test_health(service):
    """Live and ready say ok and no secret, without a key."""
    assert httpx.get(service.url + "/health/live").json() == {"status": "ok"}
    assert httpx.get(service.url + "/health/ready").json() == {"status": "ok", "engine": "up"}


def test_an_engine_outage_takes_no_gateway_away():
    """Without an engine a gateway stays ready, or a balancer would have none left; the body says what is down."""
    engine = ScriptedEngine()
    engine.up = False
    with served(policy(), [WordGuard(WORDS)], engine) as service:
        response = httpx.get(service.url + "/health/ready")
    assert (response.status_code, response.json()) == (200, {"status": "ok", "engine": "down"})


def test_not_ready():
    """Ready is 503 while nothing can be recorded; live still says ok."""
    ledger = MemoryLedger()
    ledger.broken = True
    with served(policy(), [WordGuard(WORDS)], ledger=ledger) as service:
        response = httpx.get(service.url + "/health/ready")
        assert (response.status_code, response.json()) == (503, {"status": "unavailable", "engine": "up"})
        assert httpx.get(service.url + "/health/live").status_code == 200


def test_metrics(service, client):
    """An operator reads what happened; no label carries a key, a tenant or an exchange."""
    messages = [{"role": "user", "content": "you dimwit"}]
    exchange = client.chat.completions.with_raw_response.create(model="m", messages=messages).headers
    text = httpx.get(service.url + "/metrics", headers={"authorization": f"Bearer {OPERATOR_KEY}"}).text
    assert 'sluicegate_exchanges_total{endpoint="chat",outcome="completed",stream="false"}' in text
    assert 'category="toxicity"' in text
    assert 'route="/v1/chat/completions"' in text
    for private in (exchange["x-sluicegate-exchange"], "acme", "key_client", "dimwit", service.key):
        assert private not in text


def test_openapi(http):
    """Every route is described with a success example, and no reference dangles."""
    found = http.get("/openapi.json")
    document = found.json()
    assert found.status_code == 200
    assert "/v1/chat/completions" in document["paths"]
    for reference in set(_references(document)):
        node = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]
    examples = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]
    for name, example in examples["examples"].items():
        assert http.post("/v1/chat/completions", json=example["value"]).status_code == 200, name


def test_openapi_needs_a_key(service):
    """The document is closed like every other route."""
    error(httpx.get(service.url + "/openapi.json"), 401)


def _references(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
