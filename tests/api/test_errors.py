"""Whatever is wrong with a request, the answer is a clear 4xx in OpenAI's shape and nothing reaches the engine."""

import json

import httpx
import pytest

from service.settings import Settings
from tests.api.conftest import WORDS, error, policy
from tests.fakes import WordGuard
from tests.serving import served

CHAT = "/v1/chat/completions"
MESSAGE = b'{"role": "user", "content": "Hi"}'


def body(extra: bytes = b"") -> bytes:
    return b'{"model": "m", "messages": [' + MESSAGE + b"]" + extra + b"}"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "line 1, column 1"),
        (b"{", "line 1, column 2"),
        (body() + b"x", "Extra data"),
        (b"\xff\xfe", "not UTF-8"),
        (body(b', "temperature": NaN'), "NaN"),
        (body(b', "temperature": -Infinity'), "Infinity"),
        (body(b', "temperature": 1e999'), "too large"),
        (body(b', "model": "n"'), "twice"),
        (body(b', "user": "\\ud800"'), "surrogate"),
        (body(b', "seed": ' + b"9" * 30), "64"),
        (body(b', "seed": ' + b"9" * 5000), "digits"),
        (body(b', "x": ' + b"[" * 300 + b"]" * 300), "ecursion"),
        (b"[" * 100_000, "deep"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_malformed_json(http, engine, raw, says):
    """A body that is not strict JSON is a 400 that says what is wrong with it."""
    found = error(http.post(CHAT, content=raw, headers={"content-type": "application/json"}))
    assert found["code"] == "malformed_json"
    assert says in found["message"]
    assert engine.bodies == []


@pytest.mark.parametrize("raw", [b"[]", b"null", b'"text"', b"1"])
def test_not_an_object(http, raw):
    """JSON that is no object is a 400."""
    error(http.post(CHAT, content=raw, headers={"content-type": "application/json"}))


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "text/plain"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {},
    ],
    ids=str,
)
def test_other_content_types(http, headers):
    """Anything but plain JSON in UTF-8 is a 415 that says what to send."""
    assert "application/json" in error(http.post(CHAT, content=body(), headers=headers), 415)["message"]


def test_charset_may_be_named(http):
    """UTF-8 may be named in the content type."""
    headers = {"content-type": 'application/json; charset="UTF-8"'}
    assert http.post(CHAT, content=body(), headers=headers).status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_too_long(tmp_path, chunked):
    """A body over the limit is a 413, announced or not."""
    long = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 5000}]}).encode()
    settings = Settings(home=tmp_path, max_body_bytes=2000)
    with served(policy(), [WordGuard(WORDS)], settings=settings) as service:
        headers = {"authorization": f"Bearer {service.key}", "content-type": "application/json"}
        content = iter([long[:1500], long[1500:]]) if chunked else long
        assert "2000 bytes" in error(httpx.post(service.url + CHAT, content=content, headers=headers), 413)["message"]


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/embeddings/x", "/docs", "/v1/chat/completions/", "/v1//models"])
def test_unknown_route(http, path):
    """An unknown route is a 404 in the same shape."""
    assert error(http.post(path), 404)["code"] == "not_found"


def test_wrong_method(http):
    """A wrong method is a 405 that names the right one."""
    response = http.get(CHAT)
    assert error(response, 405)["code"] == "method_not_allowed"
    assert response.headers["allow"] == "POST"


def test_what_breaks_is_told_without_its_message(http, engine):
    """An exception that nobody foresaw ends the exchange with an error that shows nothing of it."""
    engine.rejects = RuntimeError("a secret path")
    response = http.post(CHAT, content=body(), headers={"content-type": "application/json"})
    assert response.status_code >= 500
    assert "secret path" not in response.text


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/v1/messages", "POST /v1/chat/completions"),
        ("/v1/messages/count_tokens", "POST /v1/chat/completions"),
        ("/inference/v1/generate", "POST /v1/chat/completions"),
        ("/tokenize", "usage of an answer"),
        ("/detokenize", "usage of an answer"),
        ("/pooling", "POST /v1/embeddings"),
        ("/classify", "POST /v1/moderations"),
        ("/score", "POST /v1/embeddings"),
        ("/v1/score", "POST /v1/embeddings"),
        ("/v1/rerank", "POST /v1/embeddings"),
        ("/v2/rerank", "POST /v1/embeddings"),
        ("/v1/audio/transcriptions", "Audio cannot be judged"),
        ("/v1/audio/speech", "Audio cannot be judged"),
        ("/v1/load_lora_adapter", "by the operator"),
        ("/v1/responses/resp_1", "Nothing is stored"),
        ("/v1/responses/resp_1/cancel", "Nothing is stored"),
        ("/v1/completions/render", "POST /v1/completions"),
        ("/sleep", "GET /openapi.json"),
    ],
)
def test_what_an_engine_offers_beside(http, engine, path, says):
    """What vLLM serves and nobody judges is a 404 that names the alternative and never reaches the engine."""
    for method in ("GET", "POST"):
        found = error(http.request(method, path, json={"model": "m"} if method == "POST" else None), 404)
        assert found["code"] == "not_found"
        assert says in found["message"]
    assert engine.bodies == []
