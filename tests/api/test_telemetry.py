"""Logs never carry text; each request is one line; metrics keep their promises."""

import io
import json
import logging

import httpx
import pytest
import structlog

from guards.verdict import Verdict
from service.telemetry.logging import DROPPED, TEXT_KEYS, configure, drop_text
from service.telemetry.metrics import Metrics
from tests.api.conftest import WORDS, policy
from tests.fakes import ScriptedEngine, WordGuard
from tests.serving import served


@pytest.fixture
def logged():
    """What was logged so far, line by line, after `configure`."""
    root, config = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure("info", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**config)


def test_one_line_a_request(logged):
    """A request is one JSON line with route, status, time, exchange, key and outcome, and without any text."""
    with served(policy(), [WordGuard(WORDS)]) as service:
        headers = {"authorization": f"Bearer {service.key}"}
        ask = {"model": "m", "messages": [{"role": "user", "content": "a private thing"}]}
        answers = [
            httpx.post(service.url + "/v1/chat/completions", json=ask | {"stream": stream}, headers=headers)
            for stream in (False, True)
        ]
        httpx.get(service.url + "/private/path?private=query")
    lines = [line for line in logged() if line["logger"] != "httpx"]  # the test's own client
    requests = [line for line in lines if line["event"] == "request"]
    assert len(requests) == 3
    for line, answer in zip(requests, answers, strict=False):
        assert line["exchange_id"] == answer.headers["x-sluicegate-exchange"]
        assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/chat/completions", 200)
        assert (line["key_id"], line["outcome"]) == ("key_client", "completed")
        assert 0 <= line["duration_s"] < 5
    assert (requests[2]["route"], requests[2]["status"]) == ("unknown", 404)
    assert "exchange_id" not in requests[2]
    assert "private" not in json.dumps(lines)
    assert service.key not in json.dumps(lines)


def test_what_broke_is_logged_without_its_message(logged):
    """An exception is logged by type and place; its message, which may quote a user, is not."""

    class Broken(ScriptedEngine):
        async def models(self):
            raise ValueError("a private thing")

    with served(policy(), [WordGuard(WORDS)], Broken()) as service:
        answer = httpx.get(service.url + "/v1/models", headers={"authorization": f"Bearer {service.key}"})
    lines = [line for line in logged() if line["logger"] != "httpx"]  # the test's own client
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    broken = [line for line in lines if line.get("exception") == "ValueError"]
    assert any("test_telemetry.py" in frame for frame in broken[0]["frames"])
    assert "private" not in json.dumps(lines)


def test_foreign_loggers_go_the_same_way(logged):
    """The standard library's loggers write JSON too, and uvicorn's access log is silent."""
    logging.getLogger("uvicorn.error").info("listening on %s", "somewhere")
    logging.getLogger("uvicorn.access").info("GET /private")
    structlog.get_logger("x").warning("ours", prompt="private", nested={"text": "private", "chars": 7})
    first, second = logged()
    assert (first["event"], first["level"], first["logger"]) == ("listening on somewhere", "info", "uvicorn.error")
    assert (second["prompt"], second["nested"]) == (DROPPED, {"text": DROPPED, "chars": 7})


@pytest.mark.parametrize("key", [*sorted(TEXT_KEYS), "Authorization", "PROMPT"])
def test_text_keys_are_dropped(key):
    """A value under a key that could carry text is dropped, at any depth."""
    event = drop_text(None, "info", {"event": "e", key: "private", "deep": [{"a": {key: "private"}}]})
    assert "private" not in str(event)
    assert event["event"] == "e"


def sample(metrics, name, **labels):
    return metrics.registry.get_sample_value(f"sluicegate_{name}", labels)


def test_three_ways_a_guard_matters():
    """A policy's block, a failed guard's block and a failed guard's pass are counted apart."""
    metrics = Metrics()
    base = {"guard": "g", "version": "1", "digest": "d", "stage": "input", "category": "harm", "threshold": 0.5}
    base |= {"policy": "p", "policy_digest": "x", "score": None}
    metrics.verdict(Verdict(**base, action="flag", mode="enforce", error="deadline"))
    metrics.verdict(Verdict(**base, action="refuse", mode="enforce", error="deadline"))
    metrics.verdict(Verdict(**base, action="flag", mode="shadow", error="deadline"))
    assert sample(metrics, "guard_outcomes_total", outcome="fail_open") == 1
    assert sample(metrics, "guard_outcomes_total", outcome="policy_block") == 0


def test_guard_errors_by_kind():
    """A guard's error message never becomes a label."""
    metrics = Metrics()
    for error in ("deadline", "stopped", "cannot parse 'a private thing'"):
        metrics.guard_error("g", "1", error)
    assert b"private" not in metrics.exposition()
    assert sample(metrics, "guard_errors_total", guard="g", version="1", kind="failed") == 1


def test_the_first_event_of_a_series_is_an_increase():
    """What may be counted is there as 0 before it happens: an increase over nothing would not be seen."""
    metrics = Metrics()
    metrics.in_force([policy()], [("words", "1", "d1")])
    assert sample(metrics, "exchanges_total", endpoint="chat", stream="true", outcome="ledger_unavailable") == 0
    assert sample(metrics, "guard_errors_total", guard="words", version="1", kind="unparsable") == 0
    assert sample(metrics, "ledger_errors_total", operation="commit") == 0
    assert sample(metrics, "feedback_total", kind="report") == 0
    assert sample(metrics, "withheld_chars_total", channel="content") == 0


def test_what_is_in_force():
    """Only the policies and guards in force now are shown."""
    metrics = Metrics()
    metrics.in_force([policy(version=1)], [("words", "1", "d1")])
    metrics.in_force([policy(version=2)], [("words", "2", "d2")])
    text = metrics.exposition().decode()
    assert f'digest="{policy(version=2).digest}",policy="test",version="2"' in text
    assert policy(version=1).digest not in text
    assert 'digest="d2",guard="words",version="2"' in text
