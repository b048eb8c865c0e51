"""What to label next, from a running service and back into its review queue."""

import httpx
import pytest

from service.settings import Settings
from tests.api.conftest import WORDS, error, policy
from tests.fakes import WordGuard
from tests.serving import MODERATOR_KEY, OPERATOR_KEY, served
from training.select import main


@pytest.fixture
def service(tmp_path):
    settings = Settings(home=tmp_path, requests_per_minute=1_000_000)
    sampled = policy(store="sampled", sample_share=1.0)
    with served(sampled, [WordGuard(WORDS)], settings=settings, home=tmp_path) as running:
        yield running


def asked(service, method, path, key=OPERATOR_KEY, **body):
    return httpx.request(
        method, f"{service.url}{path}", json=body or None, headers={"authorization": f"Bearer {key}"}, timeout=60
    )


def test_from_traffic_to_the_queue(service, capsys):
    """Clean exchanges are candidates with scores and no text; what is selected waits for reviewers, once."""
    body = {"model": "scripted", "messages": [{"role": "user", "content": "good morning to you"}]}
    ids = []
    for _ in range(3):
        ids.append(asked(service, "POST", "/v1/chat/completions", service.key, **body).headers["x-sluicegate-exchange"])
    thumb = {"exchange_id": ids[-1], "kind": "thumbs_down"}  # it waits for the record
    assert asked(service, "POST", "/v1/feedback", service.key, **thumb).status_code == 200
    found = asked(service, "GET", "/v1/review/candidates?limit=10")
    assert found.text.count("exc_") == 3
    assert "good morning" not in found.text
    options = ["--url", service.url, "--key", OPERATOR_KEY, "--count", "2", "--guard", "words"]
    main(options)
    assert "2 selected, 2 new" in capsys.readouterr().out
    assert asked(service, "GET", "/v1/review/candidates").text.count("exc_") == 1
    claim = asked(service, "POST", "/v1/review/next", MODERATOR_KEY, queues=["default"]).json()
    assert claim["item"]["why"] == "selected"


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("items[0].inclusion_probability", {"inclusion_probability": 0}),
        ("items[0].reason", {"reason": "Because it is!"}),
        ("items[0].exchange_id", {"exchange_id": "exc_1"}),
    ],
)
def test_what_cannot_be_asked_about_is_refused(service, field, given):
    """A bad field is named; an unknown exchange is a conflict; reviewers' keys may not fill the queue."""
    item = {"exchange_id": "exc_" + "0" * 32, "reason": "threshold", "inclusion_probability": 0.5}
    refused = asked(service, "POST", "/v1/review/items", items=[item | given])
    assert error(refused, 400)["param"] == field
    assert error(asked(service, "POST", "/v1/review/items", items=[item]), 409)
    assert error(asked(service, "POST", "/v1/review/items", MODERATOR_KEY, items=[item]), 403)
    assert error(asked(service, "GET", "/v1/review/candidates?limit=0"), 400)["param"] == "limit"
