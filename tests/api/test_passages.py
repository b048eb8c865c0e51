"""Every text of a request is judged, and a redacted one is put back exactly where it was."""

from hypothesis import given
from hypothesis import strategies as st

from service.api import chat, completions
from service.api.schemas import ChatRequest, CompletionRequest

REQUEST = {
    "model": "m",
    "messages": [
        {"role": "developer", "content": "T-system", "name": "T-boss"},
        {"role": "user", "content": [{"type": "text", "text": "T-user"}], "name": "T-ann"},
        {
            "role": "assistant",
            "content": "T-assistant",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "T-call", "arguments": '{"a": "T-arguments"}'}},
                {"id": "c2", "type": "function", "function": {"name": "T-other", "arguments": "T-broken json"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "T-result"},
        {"role": "assistant", "refusal": "T-refusal"},
        {"role": "user", "content": "T-last"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "T-tool", "description": "T-about", "parameters": {"T-key": ["T-v"]}}}
    ],
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "T-schema", "schema": {"properties": {"T-field": {"const": "T-const"}}}},
    },
}


def _texts(node):
    if isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)
    elif isinstance(node, str):
        yield node


def test_every_text_is_a_passage():
    """Each text of the body that goes to the engine is in a passage of the kind its origin calls for."""
    asked = chat.asked(ChatRequest.model_validate(REQUEST))
    planted = [t for t in _texts(asked.body) if t.startswith("T-")]
    judged = "\n".join(p.text for p in asked.passages)
    assert len(planted) >= 16
    assert [t for t in planted if t not in judged] == []
    kinds = {name: p.kind for p in asked.passages for name in planted if name in p.text}
    assert {kinds[n] for n in ("T-system", "T-boss", "T-tool", "T-key", "T-const", "T-schema")} == {"system"}
    assert {kinds[n] for n in ("T-user", "T-ann", "T-last")} == {"prompt"}
    assert {kinds[n] for n in ("T-assistant", "T-call", "T-other", "T-result", "T-refusal")} == {"tool_result"}
    assert asked.prompt_of(0) == "T-last"


def test_rewriting_with_the_same_texts_changes_nothing():
    """The rewrite of the judged texts themselves is the body."""
    asked = chat.asked(ChatRequest.model_validate(REQUEST))
    assert asked.rewrite([p.text for p in asked.passages]) == asked.body


def test_every_passage_is_replaced():
    """Every planted text is gone after its passages were redacted, and the body asked is untouched."""
    asked = chat.asked(ChatRequest.model_validate(REQUEST))
    body = asked.rewrite([p.text.replace("T-", "R-") for p in asked.passages])
    assert [t for t in _texts(body) if "T-" in t] == []
    assert len([t for t in _texts(body) if "R-" in t]) >= 16
    assert any("T-" in t for t in _texts(asked.body))


def test_prompts_of_completions():
    """Each prompt of a completion is a passage and is replaced on its own."""
    asked = completions.asked(CompletionRequest.model_validate({"model": "m", "prompt": ["a", "b"], "n": 2}))
    assert [p.text for p in asked.passages] == ["a", "b"]
    assert asked.choices == 4
    assert asked.rewrite(["x", "y"])["prompt"] == ["x", "y"]
    one = completions.asked(CompletionRequest.model_validate({"model": "m", "prompt": "a"}))
    assert one.rewrite(["x"])["prompt"] == "x"


JSON = st.recursive(st.none() | st.booleans() | st.text(), lambda n: st.lists(n) | st.dictionaries(st.text(), n))


@given(st.lists(st.text(min_size=1), min_size=1), st.dictionaries(st.text(), JSON))
def test_any_texts_survive_a_rewrite(texts, parameters):
    """For any texts and any tool schema, rewriting with the judged texts is the body."""
    messages = [{"role": ("user", "system", "assistant")[i % 3], "content": t} for i, t in enumerate(texts)]
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    asked = chat.asked(ChatRequest.model_validate({"model": "m", "messages": messages, "tools": tools}))
    assert asked.rewrite([p.text for p in asked.passages]) == asked.body
