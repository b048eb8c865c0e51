"""One service for the area: a word guard on both sides, a scripted engine behind."""

from collections.abc import Iterator

import httpx
import openai
import pytest

from guards.policy import Policy
from tests.fakes import ScriptedEngine, WordGuard
from tests.quiet import quiet
from tests.serving import Served, served

WORDS = {"harm": "dynamite", "toxicity": "dimwit", "secret": "hunter2"}
RULES = {"harm": {}, "toxicity": {"action": "flag"}, "secret": {"action": "redact"}}


def policy(**changes) -> Policy:
    base = {"name": "test", "version": 1, "guards": ["words"], "input": RULES, "output": RULES}
    return Policy.model_validate(base | changes)


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    with served(policy(), [WordGuard(WORDS)]) as running:
        yield running


@pytest.fixture
def engine(service) -> ScriptedEngine:
    """The scripted engine behind `service`, fresh for each test."""
    service.engine.__init__()
    return service.engine


@pytest.fixture
def client(service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=service.url + "/v1", api_key=service.key, max_retries=0) as client:
        yield client


@pytest.fixture
def http(service, engine) -> Iterator[httpx.Client]:
    """A bare HTTP client with a client key."""
    with httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {service.key}"}, timeout=60) as http:
        yield http


@pytest.fixture(autouse=True, scope="package")
def _quiet() -> Iterator[None]:
    with quiet():
        yield


def error(response: httpx.Response, status: int = 400) -> dict:
    """The error object, after checking that it has OpenAI's shape."""
    assert response.status_code == status, response.text
    body = response.json()
    assert body.keys() == {"error"}
    assert {"message", "type", "param", "code"} <= body["error"].keys()
    assert body["error"]["message"].strip()
    return body["error"]
