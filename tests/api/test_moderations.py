"""POST /v1/moderations with an unmodified client, POST /v1/explain and GET /v1/guards: judged, never recorded."""

import httpx
import openai
import pytest

from guards.taxonomy import OPENAI
from service.settings import Settings
from tests.api.conftest import WORDS, error, policy
from tests.fakes import BrokenGuard, WordGuard
from tests.serving import KEY, MODERATOR_KEY, OPERATOR_KEY, served

USER = {"role": "user", "content": "Hi"}


@pytest.fixture
def operator(service, engine):
    with httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {OPERATOR_KEY}"}) as http:
        yield http


def moderate(client, texts):
    return client.moderations.create(input=texts).results


def test_client_text(client, engine, service):
    """A text has one result in OpenAI's shape, with ours beside it; nothing is asked of the engine or recorded."""
    events = len(service.ledger.events)
    (found,) = moderate(client, "dynamite")
    assert found.flagged
    assert found.categories.illicit
    assert not found.categories.self_harm_intent
    assert found.category_scores.illicit == 1.0
    ours = found.sluicegate
    assert ours["action"] == "refuse"
    assert ours["categories"] == {"harm": True, "secret": False, "toxicity": False}
    assert ours["category_scores"]["harm"] == 1.0
    assert "illicit" not in ours["unjudged"]
    assert "sexual" in ours["unjudged"]
    assert engine.bodies == []
    assert len(service.ledger.events) == events


def test_every_openai_category_is_there(http):
    """A result has all of OpenAI's categories, scores and input types, whatever the guards know."""
    (found,) = http.post("/v1/moderations", json={"input": "Hi", "model": "omni-moderation-latest"}).json()["results"]
    for name in ("categories", "category_scores", "category_applied_input_types"):
        assert list(found[name]) == list(OPENAI)
    assert not found["flagged"]
    assert found["sluicegate"]["action"] == "allow"


def test_client_texts(client):
    """Each of several texts has a result of its own, in order."""
    assert [r.flagged for r in moderate(client, ["fine", "dynamite", "you dimwit", "it is hunter2", "fine"])] == [
        False, True, True, True, False
    ]  # fmt: skip
    assert [r.flagged for r in moderate(client, ["dyna", "mite"])] == [False, False]


def test_parts_are_one_text(client, http):
    """Text parts are judged as the one text they are; an image among them is refused."""
    parts = [{"type": "text", "text": "dynamite"}, {"type": "text", "text": "fine"}]
    assert [r.flagged for r in moderate(client, parts)] == [True]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    found = error(http.post("/v1/moderations", json={"input": [*parts, image]}))
    assert found["code"] == "unsupported_modality"


def test_a_conversation_has_one_result(http):
    """All turns of a conversation count, each by its role, and those of the user together."""

    def flagged(*messages):
        response = http.post("/v1/moderations", json={"input": list(messages)})
        (result,) = response.json().get("results") or pytest.fail(response.text)
        return result["flagged"]

    answer = {"role": "assistant", "content": "dynamite"}
    assert not flagged(USER, {"role": "assistant", "content": "fine"})
    assert flagged(USER, answer, {"role": "user", "content": "thanks"})
    assert flagged({"role": "user", "content": "dynamite"}, USER)
    with (
        served(policy(input={}), [WordGuard(WORDS)]) as service,
        httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {KEY}"}) as http,
    ):
        assert flagged(USER, answer), "an answer is judged by the rules for output"
        assert not flagged({"role": "user", "content": "dynamite"})
    with (
        served(policy(), [WordGuard(WORDS | {"harm": "nail bomb"})]) as service,
        httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {KEY}"}) as http,
    ):
        assert flagged(
            {"role": "user", "content": "a nail"}, {"role": "assistant", "content": "Yes?"}, USER | {"content": "bomb"}
        )


def test_shadow_is_not_flagged():
    """A rule in shadow has a score and does not flag."""
    with (
        served(policy(input={"harm": {"mode": "shadow"}}), [WordGuard(WORDS)]) as service,
        openai.OpenAI(base_url=service.url + "/v1", api_key=service.key) as client,
    ):
        (found,) = moderate(client, "dynamite")
    assert not found.flagged
    assert found.category_scores.illicit == 1.0


def test_categories_of_ones_own():
    """A category that the policy declares is shown under the OpenAI category it names, and under its own."""
    own = {"rivals": {"description": "praise of competitors", "openai": "harassment"}}
    rules = policy(categories=own, input={"rivals": {"action": "flag"}}, output={})
    with (
        served(rules, [WordGuard({"rivals": "acme"})]) as service,
        openai.OpenAI(base_url=service.url + "/v1", api_key=service.key) as client,
    ):
        (found,) = moderate(client, "I like acme")
    assert found.categories.harassment
    assert found.sluicegate["categories"] == {"rivals": True}
    assert found.sluicegate["action"] == "flag"


@pytest.mark.parametrize("texts", ["", [], [""], [1], [[1]], None, [{"role": "user"}], [USER, "x"], [{"type": "x"}]])
def test_what_is_no_text_is_refused(http, texts):
    """Anything that is no text or conversation is a 400 that names the input."""
    assert error(http.post("/v1/moderations", json={"input": texts}))["param"].startswith("input")


def test_guard_failure():
    """A guard that fails is a 503 whatever on_error says: no result is made up."""
    with (
        served(policy(on_error="allow"), [BrokenGuard(WORDS, "poison")]) as service,
        openai.OpenAI(base_url=service.url + "/v1", api_key=service.key, max_retries=0) as client,
    ):
        assert [r.flagged for r in moderate(client, "fine")] == [False]
        with pytest.raises(openai.InternalServerError, match="could not judge"):
            moderate(client, ["fine", "poison"])


def test_too_much_text_and_too_many_requests(tmp_path):
    """More text than can be judged is a 400, more requests than there are places a 429."""
    with served(policy(), [WordGuard(WORDS)], max_exchanges=0) as service:
        headers = {"authorization": f"Bearer {KEY}"}
        for path, body in (("moderations", {"input": "x"}), ("embeddings", {"model": "m", "input": "x"})):
            assert (
                error(httpx.post(f"{service.url}/v1/{path}", json=body, headers=headers), 429)["code"] == "overloaded"
            )
    with served(policy(), [WordGuard(WORDS)], settings=Settings(home=tmp_path)) as service:
        body = {"input": "word " * 100_000}
        assert (
            "at most 200000"
            in error(httpx.post(f"{service.url}/v1/moderations", json=body, headers=headers))["message"]
        )


def test_explain_prompt(operator, engine, service):
    """Every guard's score, threshold and action of every part; nothing is generated or recorded."""
    events = len(service.ledger.events)
    found = operator.post("/v1/explain", json={"prompt": "dynamite, you dimwit"}).json()
    assert found["policy"].keys() == {"name", "version", "digest"}
    assert found["input"] == {"action": "refuse", "guard_failed": False, "categories": ["harm"]}
    assert found["output"] is None
    (part,) = found["parts"]
    assert (part["part"], part["kind"], part["stage"], part["action"]) == ("prompt", "prompt", "input", "refuse")
    rows = {row["category"]: row for row in part["findings"]}
    assert rows["harm"] == {
        "guard": "words",
        "version": "1",
        "digest": WordGuard(WORDS).digest,
        "category": "harm",
        "score": 1.0,
        "threshold": 0.5,
        "action": "refuse",
        "mode": "enforce",
        "spans": [[0, 8]],
        "error": None,
    }
    assert (rows["toxicity"]["action"], rows["toxicity"]["spans"]) == ("flag", [[14, 20]])
    assert (rows["secret"]["action"], rows["secret"]["score"]) == ("allow", 0.0)
    assert engine.bodies == []
    assert len(service.ledger.events) == events


def test_explain_names_the_part(operator):
    """Parts have their place in the request, turns read together name theirs, and an answer is judged as output."""
    tool = {"type": "function", "function": {"name": "f", "description": "dynamite"}}
    messages = [{"role": "system", "content": "Be brief."}, USER, {"role": "assistant", "content": "Yes?"}, USER]
    body = {"messages": messages, "tools": [tool], "response": "it is hunter2"}
    found = operator.post("/v1/explain", json=body).json()
    assert [(p["part"], p["kind"], p["action"]) for p in found["parts"]] == [
        ("tools[0]", "system", "refuse"),
        ("messages[0].content", "system", "allow"),
        ("messages[1].content", "prompt", "allow"),
        ("messages[2].content", "tool_result", "allow"),
        ("messages[3].content", "prompt", "allow"),
        ("response", "response", "redact"),
        ("turns", "prompt", "allow"),
    ]
    assert found["parts"][-1]["of"] == ["messages[1].content", "messages[3].content"]
    assert {row["threshold"] for row in found["parts"][-1]["findings"]} == {0.9}
    assert (found["input"]["action"], found["output"]["action"]) == ("refuse", "redact")


def test_explain_failures():
    """A guard that fails is a row with its error, and the action is that of on_error."""
    with served(policy(), [BrokenGuard(WORDS)]) as service:
        headers = {"authorization": f"Bearer {MODERATOR_KEY}"}
        found = httpx.post(service.url + "/v1/explain", json={"prompt": "Hi"}, headers=headers).json()
    assert found["input"]["guard_failed"]
    assert {(r["error"], r["score"], r["action"]) for r in found["parts"][0]["findings"]} == {
        ("broken on purpose", None, "refuse")
    }


def test_explain_shows_scores_without_a_rule():
    """A category that the policy has no rule for is shown with its score and no threshold."""
    with served(policy(input={"harm": {"mode": "shadow"}}), [WordGuard(WORDS)]) as service:
        headers = {"authorization": f"Bearer {OPERATOR_KEY}"}
        found = httpx.post(service.url + "/v1/explain", json={"prompt": "dynamite dimwit"}, headers=headers).json()
    rows = {r["category"]: (r["score"], r["threshold"], r["action"], r["mode"]) for r in found["parts"][0]["findings"]}
    assert rows["toxicity"] == (1.0, None, "allow", None)
    assert rows["harm"] == (1.0, 0.5, "refuse", "shadow")
    assert found["input"]["action"] == "allow"


def test_explain_is_not_for_clients(http):
    """Scores of single words teach how to pass: a client's key may not ask for them."""
    assert error(http.post("/v1/explain", json={"prompt": "x"}), 403)["code"] == "permission_denied"


@pytest.mark.parametrize("body", [{}, {"prompt": "x", "messages": [USER]}, {"response": "x"}, {"prompt": ""}, {"x": 1}])
def test_explain_needs_texts(operator, body):
    """Neither or both of messages and prompt, and unknown fields, are a 400."""
    error(operator.post("/v1/explain", json=body))


def test_guards(http):
    """Every loaded guard with its version, digest and what it judges at which stage."""
    (guard,) = http.get("/v1/guards").json()["data"]
    assert (guard["name"], guard["version"], guard["digest"]) == ("words", "1", WordGuard(WORDS).digest)
    assert guard["categories"] == {"input": sorted(WORDS), "output": sorted(WORDS)}
    assert guard["languages"] == {"en": {}}
