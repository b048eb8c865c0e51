"""What a stream is on the wire: events, keep-alives, its end, and a client that leaves."""

import json
import socket
import time

import httpx

from service.settings import Settings
from tests.api.conftest import WORDS, error, policy
from tests.fakes import ScriptedEngine, WordGuard, text_deltas
from tests.serving import served

CHAT = "/v1/chat/completions"
ASK = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}


def within(deadline_s, condition):
    ends_at = time.monotonic() + deadline_s
    while not condition() and time.monotonic() < ends_at:
        time.sleep(0.01)
    assert condition()


def test_wire_format(http):
    """Every event is one `data:` line of JSON, the last is [DONE], and nothing may be cached on the way."""
    response = http.post(CHAT, json=ASK)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    *events, done, rest = response.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    assert all(json.loads(e.removeprefix("data: "))["object"] == "chat.completion.chunk" for e in events)


def test_error_event_is_the_end(http, engine):
    """After an error event in mid-stream nothing follows, not even [DONE]."""
    engine.deltas, engine.error_after = text_deltas("word " * 100), 60
    *_, last, rest = http.post(CHAT, json=ASK).text.split("\n\n")
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_unavailable"
    assert rest == ""


def test_what_breaks_in_mid_stream_is_an_error_event(http, engine):
    """An exception that nobody foresaw ends the stream with an error event."""
    engine.deltas = [*text_deltas("word " * 100, finish=None, usage=False), None]
    *_, last, rest = http.post(CHAT, json=ASK).text.split("\n\n")
    assert json.loads(last.removeprefix("data: "))["error"]["type"] == "server_error"
    assert rest == ""


def test_keepalive(tmp_path):
    """While text is held, comments keep the connection alive; the events around them are whole."""
    engine = ScriptedEngine(text_deltas("ab", cut=1), pause_s=0.3)
    settings = Settings(home=tmp_path, keepalive_s=0.1)
    with served(policy(), [WordGuard(WORDS)], engine, settings=settings) as service:
        response = httpx.post(service.url + CHAT, json=ASK, headers={"authorization": f"Bearer {service.key}"})
    lines = response.text.split("\n\n")
    assert lines.count(": still judging") >= 2
    assert all(line.startswith(("data: ", ":")) for line in lines if line)
    assert lines[-2] == "data: [DONE]"


def leaving(service, stream, read_first):
    """Asks on a connection of its own and drops it."""
    headers = {"authorization": f"Bearer {service.key}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=0.5) as http:
        try:
            with http.stream("POST", CHAT, json=ASK | {"stream": stream}) as response:
                if read_first:
                    next(response.iter_lines())
        except httpx.ReadTimeout:
            assert not read_first


def left(service, before):
    closed = service.ledger.of("closed")
    return len(closed) > before and closed[-1]["outcome"] == "client_left"


def test_client_leaves_a_stream(tmp_path):
    """A client that leaves in mid-stream stops the engine's request at once, and the record is kept."""
    engine = ScriptedEngine(text_deltas("word " * 4000), pause_s=0.02)
    with served(policy(), [WordGuard(WORDS)], engine) as service:
        leaving(service, stream=True, read_first=True)
        within(1, lambda: engine.open == 0 and left(service, 0))


def test_client_leaves_before_the_answer(tmp_path):
    """A client that leaves while it waits, for a whole answer or for the first text, does so too."""
    for stream in (False, True):
        engine = ScriptedEngine(text_deltas("word " * 4000), pause_s=0.02 if not stream else 30)
        with served(policy(), [WordGuard(WORDS)], engine) as service:
            leaving(service, stream, read_first=False)
            within(1, lambda: engine.open == 0 and left(service, 0))  # noqa: B023  evaluated here


def test_client_that_does_not_read_and_leaves(tmp_path):
    """A client that stops reading until every buffer is full, then leaves, stops the engine too."""
    engine = ScriptedEngine(text_deltas("word " * 8_000_000, cut=20_000), pause_s=0.004)
    with served(policy(most_segment_chars=16384), [WordGuard(WORDS)], engine) as service:
        body = json.dumps(ASK).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", int(service.url.rpartition(":")[2])))
            client.sendall(head.encode() + body)
            time.sleep(2)
            assert engine.open == 1
        within(3, lambda: engine.open == 0 and left(service, 0))


def test_refused_stream_is_not_a_stream(http):
    """A refused input is JSON with status 400 even when a stream was asked for."""
    response = http.post(CHAT, json=ASK | {"messages": [{"role": "user", "content": "dynamite"}]})
    assert error(response)["code"] == "content_filter"
    assert response.headers["content-type"] == "application/json"
