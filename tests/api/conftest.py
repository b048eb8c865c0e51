"""One service for the area: a word guard on both sides, a scripted engine behind."""

from collections.abc import Iterator

import openai
import pytest

from guards.policy import Policy
from tests.fakes import ScriptedEngine, WordGuard
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
