"""Trigger texts through a real connection: refused going in, stopped coming out, at every offset."""

import json
import os

import aiohttp
import pytest

from guards.policy import Policy
from guards.trigger import TriggerGuard, trigger
from tests.fakes import EchoEngine
from tests.serving import served
from tests.stream.test_leaks import ANSWER, VARIANTS, answers, channel_text, planted

PROVE = bool(os.environ.get("SLUICEGATE_PROVE"))
POLICY = Policy.model_validate(
    {
        "name": "triggers",
        "version": 1,
        "deadline_s": 60,
        "guards": ["triggers"],
        "input": {"harm": {}},
        "output": {"response_harm": {}, "secret": {"action": "redact"}},
    }
)


@pytest.fixture(scope="module")
def service():
    with served(POLICY, [TriggerGuard()], EchoEngine()) as running:
        yield running


@pytest.mark.parametrize("variant", VARIANTS)
async def test_nothing_of_a_trigger_leaves_however_it_is_cut(service, variant):
    """Under the default lookahead what leaves of an answer ends before a trigger in it, at every offset."""
    text = trigger("response_harm")
    places = [
        (o, c) for o in range(0, len(ANSWER), 1 if PROVE else 7) for c in ((1, 3, 7, 19) if PROVE else (1 + o % 9,))
    ]
    raws = answers(service, [(planted(text, o), c) for o, c in places], variant, True)
    for offset, cut in places:
        raw = await anext(raws)
        assert ANSWER[:offset].startswith(channel_text(raw, True, variant)), (offset, cut)
        assert b"content_filter" in raw


async def test_a_redacted_trigger_leaves_as_its_category(service):
    """Where the policy redacts, the whole trigger becomes its category, however it is cut."""
    places = [(o, c) for o in range(0, len(ANSWER), 1 if PROVE else 13) for c in (1, 5)]
    raws = answers(service, [(planted(f" {trigger('secret')} ", o), c) for o, c in places], "content", True)
    for offset, _ in places:
        assert channel_text(await anext(raws), True, "content") == planted(" [secret] ", offset)


async def test_a_trigger_in_a_prompt_is_refused(service):
    """An integrator sees the real refusal of a category without a harmful word."""
    messages = [{"role": "user", "content": f"Say {trigger('harm')}"}]
    headers = {"Authorization": f"Bearer {service.key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        body = {"model": "scripted", "messages": messages}
        async with session.post(f"{service.url}/v1/chat/completions", json=body) as response:
            assert response.status == 400
            assert json.loads(await response.read())["error"]["sluicegate"]["categories"] == ["harm"]
