"""Candidates come from the real service; only the model is a script."""

import json

import pytest

from guards.policy import Policy
from service.gate.exchange import Delta
from service.ledger.ledger import open_store
from service.review.drawing import draw, on_record
from service.review.rankings import Ranking, ask, next_task, pairs, rank
from service.review.reviewer import ReviewError
from service.settings import Settings
from tests.fakes import ScriptedEngine, WordGuard
from tests.review.conftest import ADA
from tests.serving import served

RULES = {"harm": {}}
POLICY = {"name": "test", "version": 1, "guards": ["words"], "input": RULES, "output": RULES}


class Varied(ScriptedEngine):
    """Another answer each time; every second one is unsafe."""

    async def stream(self, endpoint, body, tenant):
        self.bodies.append(body)
        number = len(self.bodies)
        yield Delta(0, text=f"answer {number}" if number % 2 else f"dynamite {number}")
        yield Delta(0, finish_reason="stop")


@pytest.fixture
def service(tmp_path):
    guard = WordGuard({"harm": "dynamite"})
    with served(Policy.model_validate(POLICY), [guard], Varied(), home=tmp_path) as running:
        yield running


async def test_from_the_service_to_preference_pairs(service, tmp_path):
    """Unsafe answers never become candidates; drawn ones are ranked and leave as pairs that are plain JSON."""
    drawn = await draw(service.url, service.key, "say something", 3)
    assert [one.answer for one in drawn] == ["answer 1", "answer 3", "answer 5"]
    store = open_store(Settings(home=tmp_path))
    await on_record(store, drawn)
    await ask(store, "say something", drawn, "cli")
    task = await next_task(store, ADA)
    first, *others = task.answers
    await rank(store, task.id, ADA, Ranking({first: 1} | dict.fromkeys(others, 2)))
    found = [pair async for pair in pairs(store)]
    await store.close()
    assert {pair["chosen"][0]["content"] for pair in found} == {task.answers[first]}
    assert json.loads(json.dumps(found)) == found
    assert set(found[0]["exchanges"]) == {one.exchange_id for one in drawn}


async def test_too_few_safe_answers_are_told(service):
    """A prompt that is refused, a wrong key and a service that is not there are clear errors."""
    with pytest.raises(ReviewError, match="fewer than two"):
        await draw(service.url, service.key, "dynamite", 2)
    with pytest.raises(ReviewError, match="HTTP 401"):
        await draw(service.url, "wrong", "hello", 2)
    with pytest.raises(ReviewError, match="cannot be asked"):
        await draw("http://127.0.0.1:9", service.key, "hello", 2)
