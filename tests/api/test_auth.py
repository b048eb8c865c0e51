"""Every route is closed until somebody opens it, and a key's rate is limited."""

import re

import httpx
import openai
import pytest
from pydantic import ValidationError

from service.api import create_api
from service.api.auth import ACCESS, ANYBODY
from service.api.deps import Api
from service.gate.pipeline import Gate
from service.judges import BatchedJudges
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.api.conftest import WORDS, error, policy
from tests.fakes import FixedKeys, MemoryLedger, ScriptedEngine, WordGuard
from tests.serving import LONG_KEY, MODERATOR_KEY, OPERATOR_KEY, served


def build(tmp_path):
    """The application itself, not served: for its routes."""
    metrics, engine = Metrics(), ScriptedEngine()
    judges = BatchedJudges([], metrics)
    gate = Gate(engine, judges, MemoryLedger(), lambda _: policy(), metrics)
    return create_api(Api(gate, FixedKeys({}), Settings(home=tmp_path), metrics, judges.guards, lambda: True))


def test_every_route_but_health_needs_a_key(service, tmp_path):
    """Each route that the application has answers 401 without a key, the health routes excepted."""
    routes = [(m, r.path) for r in build(tmp_path).routes for m in r.methods]
    assert len(routes) >= 9
    for method, path in routes:
        response = httpx.request(method, service.url + re.sub(r"{.*?}", "x", path))
        if path.startswith("/health/"):
            assert response.status_code == 200, path
        else:
            assert error(response, 401)["type"] == "authentication_error", path
            assert response.headers["www-authenticate"] == "Bearer"


def test_a_new_route_is_closed(tmp_path):
    """A route that nobody entered into ACCESS is for admins only."""
    app = build(tmp_path)
    paths = {r.path for r in app.routes}
    assert paths == set(ACCESS)
    assert {p for p, roles in ACCESS.items() if roles is ANYBODY} == {"/health/live", "/health/ready"}
    for route in app.routes:
        assert "authorized" in {d.call.__name__ for d in route.dependant.dependencies}, route.path


@pytest.mark.parametrize(
    "header",
    ["Bearer wrong", "Bearer", "Bearer ", "Basic c2c6eA==", "sg-client-test", "Bearer " + "x" * 5000],
    ids=lambda header: header[:12],
)
def test_wrong_key(service, header):
    """A wrong, empty, oversized or oddly sent key is a 401."""
    response = httpx.get(service.url + "/v1/models", headers={"authorization": header.strip()})
    assert error(response, 401)["code"] == "invalid_api_key"


def test_wrong_key_in_the_client(service):
    """The openai client raises its own AuthenticationError."""
    client = openai.OpenAI(base_url=service.url + "/v1", api_key="wrong", max_retries=0)
    with client, pytest.raises(openai.AuthenticationError):
        client.models.list()


@pytest.mark.parametrize(
    ("key", "path", "status"),
    [
        (OPERATOR_KEY, "/metrics", 200),
        (OPERATOR_KEY, "/v1/coverage", 200),
        (OPERATOR_KEY, "/v1/chat/completions", 403),
        (MODERATOR_KEY, "/v1/completions", 403),
        (MODERATOR_KEY, "/v1/models", 403),
        (MODERATOR_KEY, "/metrics", 403),
        (MODERATOR_KEY, "/openapi.json", 200),
        ("sg-client-test", "/metrics", 403),
        ("sg-client-test", "/v1/coverage", 200),
    ],
)
def test_roles(service, key, path, status):
    """A key of another role is a 403 that names the roles that may."""
    method = "POST" if path.endswith("completions") else "GET"
    response = httpx.request(method, service.url + path, headers={"authorization": f"Bearer {key}"})
    if status == 200:
        assert response.status_code == 200
    else:
        assert "Use one of" in error(response, 403)["message"]


def test_rate_limit(tmp_path):
    """Requests over the rate of a key are 429 with Retry-After and counted; another key is not affected."""
    with served(policy(), [WordGuard(WORDS)], settings=Settings(home=tmp_path, requests_per_minute=3)) as service:

        def ask(key):
            return httpx.get(service.url + "/v1/models", headers={"authorization": f"Bearer {key}"})

        answers = [ask(OPERATOR_KEY) for _ in range(5)]
        other = ask(service.key)
        limited = service.metrics.registry.get_sample_value("sluicegate_rate_limited_total")
    assert [a.status_code for a in answers] == [200, 200, 200, 429, 429]
    assert [a.headers["x-ratelimit-remaining-requests"] for a in answers] == ["2", "1", "0", "0", "0"]
    assert answers[0].headers["x-ratelimit-limit-requests"] == "3"
    assert error(answers[-1], 429)["code"] == "rate_limit_exceeded"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert limited == 2
    assert other.status_code == 200


def test_a_rate_is_dealt_out_among_gateways(tmp_path):
    """One of three gateways grants a third of a key's rate, and speaks of the whole."""
    settings = Settings(home=tmp_path, requests_per_minute=7, rate_replicas=3)
    with served(policy(), [WordGuard(WORDS)], settings=settings) as service:
        headers = {"authorization": f"Bearer {OPERATOR_KEY}"}
        answers = [httpx.get(service.url + "/v1/models", headers=headers) for _ in range(4)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429]
    assert [a.headers["x-ratelimit-remaining-requests"] for a in answers] == ["6", "3", "0", "0"]
    assert {a.headers["x-ratelimit-limit-requests"] for a in answers} == {"7"}
    assert "More than 7 requests" in error(answers[-1], 429)["message"]


def test_wrong_keys_of_an_address_are_limited(tmp_path):
    """After so many wrong keys 429 with Retry-After, a short right one too; a long right one goes on, others too."""
    settings = Settings(home=tmp_path, wrong_keys_per_minute=3)
    with served(policy(), [WordGuard(WORDS)], settings=settings) as service:

        def ask(key, address="198.51.100.1"):
            headers = {"authorization": f"Bearer {key}", "x-forwarded-for": address}
            return httpx.get(service.url + "/v1/models", headers=headers)

        httpx.get(service.url + "/v1/models", headers={"x-forwarded-for": "198.51.100.1"})  # no key is no wrong key
        answers = [ask(f"guess-{n}") for n in range(5)]
        short, long = ask(service.key), ask(LONG_KEY)
        elsewhere = ask("guess", "198.51.100.2"), ask(service.key, "203.0.113.9, 198.51.100.2")
        of = "sluicegate_wrong_keys_total"
        counted = {o: service.metrics.registry.get_sample_value(of, {"outcome": o}) for o in ("denied", "limited")}
    assert [a.status_code for a in (*answers, short, long)] == [401, 401, 401, 429, 429, 429, 200]
    assert "wrong keys" in error(answers[-1], 429)["message"]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert [a.status_code for a in elsewhere] == [401, 200]
    assert counted == {"denied": 4, "limited": 3}


def test_not_everybody_is_a_proxy():
    """Proxies are addresses: a star, which would let every caller choose its own, is refused."""
    assert Settings(trusted_proxies="10.0.0.0/8, ::1").trusted_proxies
    with pytest.raises(ValidationError, match="network"):
        Settings(trusted_proxies="*")
