"""One trace a request, and no text in it."""

import asyncio
import socket
from contextlib import asynccontextmanager

import aiohttp
import pytest
import uvicorn
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from guards.policy import Policies
from service.app import Guarded, assembled
from service.settings import Settings
from service.telemetry.tracing import Tracing
from tests.api.conftest import WORDS, policy
from tests.engine.wires import Wire
from tests.fakes import WordGuard

CANARY = "xyzzy-canary"
KEY = "sg-client-traced"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "tracestate": f"v={CANARY}", "baggage": f"a={CANARY}"}
ANSWER = f"A long enough answer about {CANARY}, you dimwit, so that several segments are held and judged. " * 8


@asynccontextmanager
async def traced(home, tracing: Tracing | None = None, export: bool = False):
    """The assembled service in front of an engine's wire: its URL, and the wire."""
    settings = Settings(home=home, client_key=KEY, requests_per_minute=100_000, tracing=export)
    guarded = Guarded(Policies.only(policy()), (WordGuard(WORDS),))
    async with (
        Wire(says=ANSWER, pause_s=0.001) as wire,
        assembled(settings, guarded, wire.url, None, tracing=tracing) as (app, _),
    ):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=2))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            while not server.started:
                await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", wire
            server.should_exit = True
            await serving


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


async def ask(url, text=f"Tell me of {CANARY}.", key=KEY, headers=PARENT, stream=True, path="/v1/chat/completions"):
    body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": text}], "user": CANARY}
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"} | headers) as session,
        session.post(url + path, json=body) as response,
    ):
        return response.status, await response.text()


async def finished(spans, name="request"):
    async with asyncio.timeout(5):
        while not any(s.name.startswith(name) for s in spans.get_finished_spans()):
            await asyncio.sleep(0.01)
    return spans.get_finished_spans()


async def test_one_trace_a_request(tmp_path, spans):
    """From the key to the last record each step is a span of the caller's own trace, and the engine goes on with it."""
    async with traced(tmp_path, Tracing(SimpleSpanProcessor(spans))) as (url, wire):
        status, text = await ask(url)
        found = await finished(spans)
    assert status == 200
    assert "canary" in text
    assert {s.context.trace_id for s in found} == {int(TRACE, 16)}
    names = [s.name for s in found]
    for name in ("auth", "judge.input", "engine", "engine.queue_and_prefill", "engine.decode", "ledger.commit"):
        assert name in names
    assert names.count("judge.output") >= 2
    assert names.count("hold") >= 2
    assert names.count("ledger.append") >= 2
    by_name = {s.name: s for s in found}
    root, engine = by_name["request /v1/chat/completions"], by_name["engine"]
    assert (root.attributes["http.response.status_code"], root.attributes["sluicegate.outcome"]) == (200, "completed")
    assert root.attributes["sluicegate.exchange_id"].startswith("exc_")
    assert by_name["engine.decode"].parent.span_id == engine.context.span_id
    assert all(s.parent.span_id == root.context.span_id for s in found if s.name in ("auth", "hold", "judge.output"))
    assert wire.headers[0]["traceparent"] == f"00-{TRACE}-{engine.context.span_id:016x}-01"


CASES = {
    "answered": ({}, "end", 200, "completed"),
    "refused": ({"text": f"{CANARY} dynamite"}, "end", 400, "content_filter"),
    "engine refused": ({}, "break at once", 503, "engine_unavailable"),
    "wrong key": ({"key": CANARY}, "end", 401, "invalid_api_key"),
    "odd route": ({"path": f"/v1/{CANARY}?q={CANARY}"}, "end", 404, None),
}


async def test_no_text_in_any_span(tmp_path, spans):
    """Nothing that a caller or the model wrote is in a name, an attribute, an event, a status or the header sent on."""
    async with traced(tmp_path, Tracing(SimpleSpanProcessor(spans))) as (url, wire):
        for stream in (True, False):
            for how, then, status, outcome in CASES.values():
                wire.then = then
                assert (await ask(url, stream=stream, **how))[0] == status
                found = await finished(spans)
                root = next(s for s in found if s.name.startswith("request"))
                assert root.attributes["http.response.status_code"] == status
                assert root.attributes.get("sluicegate.outcome") == outcome
                told = "".join(span.to_json() for span in found)
                assert CANARY not in told
                assert "dimwit" not in told
                spans.clear()
    sent = {name.lower() for headers in wire.headers for name in headers}
    assert "traceparent" in sent
    assert not sent & {"tracestate", "baggage"}


async def test_errors_are_told_by_their_kind(tmp_path, spans):
    """An engine that breaks off marks its span with the code that the client read, in mid-stream too."""
    async with traced(tmp_path, Tracing(SimpleSpanProcessor(spans))) as (url, wire):
        wire.then = "break"
        assert "engine_unavailable" in (await ask(url))[1]
        engine = next(s for s in await finished(spans) if s.name == "engine")
    assert engine.attributes["error.type"] == "engine_unavailable"
    assert not engine.status.is_ok


async def test_off_is_off(tmp_path):
    """Without tracing no header of it goes to the engine, whatever the caller sent."""
    async with traced(tmp_path) as (url, wire):
        assert (await ask(url))[0] == 200
    assert "traceparent" not in {name.lower() for name in wire.headers[0]}


async def test_a_collector_that_is_away_costs_no_answer(tmp_path, monkeypatch):
    """Spans that nobody takes are dropped; exchanges go on, and the service ends."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    async with traced(tmp_path, export=True) as (url, _):
        assert (await ask(url))[0] == 200
