"""POST /v1/embeddings: texts are judged like prompts; a model that does not embed says so."""

import openai
import pytest

from service.gate.exchange import EngineRejected
from tests.api.conftest import WORDS, error, policy
from tests.fakes import BrokenGuard, WordGuard
from tests.serving import served

PATH = "/v1/embeddings"


@pytest.fixture
def ask(http):
    def send(**fields):
        return http.post(PATH, json={"model": "m", "input": "Hi"} | fields)

    return send


def test_client(client, engine):
    """The openai client gets one vector a text; it asks for base64 by itself, which reaches the engine."""
    found = client.embeddings.create(model="m", input=["Hi", "you"])
    assert [(v.index, v.embedding) for v in found.data] == [(0, [2.0, 0.5]), (1, [3.0, 0.5])]
    assert found.usage.total_tokens == 3
    assert engine.bodies[-1].items() >= {"model": "m", "input": ["Hi", "you"]}.items()


@pytest.mark.parametrize(
    ("name", "value"),
    [("dimensions", 8), ("encoding_format", "float"), ("encoding_format", "base64"), ("input", ["a"])],
)
def test_fields_reach_the_engine(ask, engine, name, value):
    """An allow-listed field reaches the engine as it was sent, and nothing is added."""
    assert ask(**{name: value}).status_code == 200
    assert engine.bodies[-1] == {"model": "m", "input": "Hi"} | {name: value}


def test_the_user_stays_here(ask, engine, service):
    """user is the exchange's subject and does not go to the engine."""
    assert ask(user="u-1").status_code == 200
    assert engine.bodies[-1] == {"model": "m", "input": "Hi"}
    assert service.ledger.of("asked")[-1]["subject"] == "u-1"
    assert service.ledger.of("closed")[-1]["outcome"] == "completed"


@pytest.mark.parametrize(
    "name", ["truncate_prompt_tokens", "messages", "chat_template", "prompt_embeds", "priority", "x"]
)
def test_other_fields_are_refused_by_name(ask, engine, name):
    """A field that is not on the list is a 400 that names it and never reaches the engine."""
    assert error(ask(**{name: True}))["param"] == name
    assert engine.bodies == []


@pytest.mark.parametrize("texts", [[1, 2], [[1], [2]], [], "", [""], ["a", 1], {"image": "x"}])
def test_what_is_no_text_is_refused(ask, engine, texts):
    """Token ids, nothing, and anything else that is no text are a 400."""
    assert error(ask(input=texts))["param"].startswith("input")
    assert engine.bodies == []


def test_refused_and_redacted(ask, engine, service):
    """One harmful text among several refuses the request; a secret is taken out of its text only."""
    found = error(ask(input=["fine", "dynamite"]))
    assert (found["code"], found["sluicegate"]["stage"]) == ("content_filter", "input")
    assert engine.bodies == []
    assert ask(input=["fine", "it is hunter2"]).status_code == 200
    assert engine.bodies[-1]["input"] == ["fine", "it is [secret]"]
    assert ask(input=["dyna", "mite"]).status_code == 200, "texts have nothing to do with each other"


def test_what_would_be_replaced_is_refused():
    """No text of the policy's can stand for a vector."""
    with (
        served(policy(input={"harm": {"action": "replace"}}), [WordGuard(WORDS)]) as service,
        openai.OpenAI(base_url=service.url + "/v1", api_key=service.key, max_retries=0) as client,
        pytest.raises(openai.BadRequestError) as refused,
    ):
        client.embeddings.create(model="m", input="dynamite")
    assert refused.value.body["sluicegate"]["categories"] == ["harm"]
    assert service.engine.bodies == []
    assert service.ledger.of("closed")[-1]["outcome"] == "refused_input"


def test_a_model_that_does_not_embed(ask, engine):
    """It is a 404 that says so."""
    engine.rejects = EngineRejected("The model of this service generates text and embeds none.", 404)
    assert "embeds none" in error(ask(), 404)["message"]


def test_guard_failure():
    """A guard that fails is a 503, and nothing reaches the engine."""
    with (
        served(policy(), [BrokenGuard(WORDS)]) as service,
        openai.OpenAI(base_url=service.url + "/v1", api_key=service.key, max_retries=0) as client,
        pytest.raises(openai.InternalServerError, match="could not judge"),
    ):
        client.embeddings.create(model="m", input="Hi")
    assert service.engine.bodies == []
