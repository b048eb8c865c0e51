"""The client against a server that misbehaves on purpose."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web

from service.engine.client import VllmClient
from service.gate.exchange import Delta, EngineRejected, EngineUnavailable

EVENTS = (
    'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
    'data: {"choices":[{"index":0,"delta":{"reasoning":"Hm."},"finish_reason":null}]}\n\n'
    'data: {"choices":[{"index":0,"delta":{"content":"Grüße 🌍"},"finish_reason":"stop"}]}\r\n\r\n'
    ": a comment\n\n"
    'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'
    "data: [DONE]\n\n"
).encode()
DELTAS = [
    Delta(channel="reasoning", text="Hm."),
    Delta(text="Grüße 🌍"),
    Delta(finish_reason="stop"),
    Delta(usage={"total_tokens": 3}),
]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[..., Awaitable[VllmClient]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server with one answer to everything and gives a client of it."""
    closing: list[Any] = []

    async def start(answer: Answer, **options: Any) -> VllmClient:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        client = VllmClient(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", "key", **options)
        closing.extend([client.close, runner.cleanup])
        return client

    yield start
    for close in closing:
        await close()


def pieces(*parts: bytes, then: str = "end") -> Answer:
    """Sends `parts` one by one, then ends, breaks off or goes silent."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for part in parts:
            await response.write(part)
            await asyncio.sleep(0)
        if then == "break":
            request.transport.abort()
        if then == "silence":
            await asyncio.sleep(5)
        return response

    return answer


def status(code: int, body: Any) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=code)

    return answer


async def read(client: VllmClient, **body: Any) -> list[Delta]:
    return [delta async for delta in client.stream("chat", {"messages": []} | body, "tenant")]


async def test_any_cut(serve: Serve):
    """However the network cuts the bytes, the same deltas come out."""
    cuts = iter(range(1, len(EVENTS)))

    async def answer(request: web.Request) -> web.StreamResponse:
        cut = next(cuts)
        return await pieces(EVENTS[:cut], EVENTS[cut:])(request)

    client = await serve(answer)
    for _ in range(1, len(EVENTS)):
        assert await read(client) == DELTAS


@pytest.mark.parametrize("then", ["end", "break"])
async def test_truncated(serve: Serve, then: str):
    """A stream that ends without [DONE] is an engine that broke off, after the deltas that came."""
    client = await serve(pieces(EVENTS[: EVENTS.index(b"data: [DONE]")], then=then))
    async with aclosing(client.stream("chat", {"messages": []}, "tenant")) as stream:
        if then == "end":
            assert [await anext(stream) for _ in DELTAS] == DELTAS
        with pytest.raises(EngineUnavailable):
            [_ async for _ in stream]


async def test_silence(serve: Serve):
    """An engine that goes silent in mid-stream is unavailable after the idle timeout."""
    client = await serve(pieces(EVENTS[: EVENTS.index(b"\n\n") + 2], then="silence"), idle_timeout_s=0.2)
    with pytest.raises(EngineUnavailable, match="Timeout"):
        await read(client)


async def test_refused():
    """No engine at the address is an engine unavailable, for every call."""
    client = VllmClient("http://127.0.0.1:9")
    with pytest.raises(EngineUnavailable):
        await read(client)
    with pytest.raises(EngineUnavailable):
        await client.models()
    assert not await client.ready()
    await client.close()


@pytest.mark.parametrize("code", [401, 403, 408, 429, 500, 503])
async def test_engines_fault(serve: Serve, code: int):
    """What the caller cannot mend is an engine unavailable, and says nothing of the engine's words."""
    client = await serve(status(code, {"error": {"message": "secret", "code": code}}))
    with pytest.raises(EngineUnavailable) as error:
        await read(client)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("code", [400, 404, 413, 422])
async def test_callers_fault(serve: Serve, code: int):
    """What the caller can mend comes with the engine's status and message, without its address."""
    client = await serve(status(code, {"error": {"message": "No such thing at http://10.0.0.1:8000/v1", "code": code}}))
    with pytest.raises(EngineRejected) as error:
        await read(client)
    assert (error.value.status, str(error.value)) == (code, "No such thing at the engine")


@pytest.mark.parametrize(("code", "kind"), [(400, EngineRejected), (500, EngineUnavailable)])
async def test_error_in_stream(serve: Serve, code: int, kind: type[Exception]):
    """An error object inside the stream ends it, and its code says whose fault it is."""
    event = b'data: {"error": {"message": "no", "code": %d}}\n\ndata: [DONE]\n\n' % code
    client = await serve(pieces(EVENTS[: EVENTS.index(b"\n\n") + 2], event) if code == 500 else pieces(event))
    with pytest.raises(kind):
        await read(client)


@pytest.mark.parametrize(
    "body", [b"data: {nonsense}\n\n", b'data: {"choices": null}\n\n', b'data: {"choices": [{}]}\n\n']
)
async def test_nonsense(serve: Serve, body: bytes):
    """An answer that cannot be parsed is an engine unavailable."""
    with pytest.raises(EngineUnavailable):
        await read(await serve(pieces(body)))


async def test_request(serve: Serve):
    """The engine is asked to stream, by its key, with a cache salt that differs by tenant alone."""
    asked: list[tuple[str | None, Any]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append((request.headers.get("Authorization"), await request.json()))
        return await pieces(EVENTS)(request)

    client = await serve(answer)
    for tenant in ("a", "a", "b"):
        async for _ in client.stream("chat", {"messages": [], "model": "theirs", "stream": False}, tenant):
            pass
    salts = [body.pop("cache_salt") for _, body in asked]
    expected = {"messages": [], "model": "theirs", "stream": True, "stream_options": {"include_usage": True}}
    assert asked == [("Bearer key", expected)] * 3
    assert salts[0] == salts[1] != salts[2]


async def test_connection_is_reused(serve: Serve):
    """Requests one after another share a connection."""
    connections = set()

    async def answer(request: web.Request) -> web.StreamResponse:
        connections.add(request.transport.get_extra_info("peername"))
        return await pieces(EVENTS)(request)

    client = await serve(answer)
    for _ in range(3):
        await read(client)
    assert len(connections) == 1


async def test_tool_calls(serve: Serve):
    """Arguments of several tool calls are told apart by position; id and name come with the first piece."""
    event = (
        b'data: {"choices":[{"index":1,"delta":{"content":null,"tool_calls":['
        b'{"id":"x","index":0,"function":{"name":"f","arguments":""}},{"index":1,"function":{"arguments":"{"}}'
        b"]}}]}\n\ndata: [DONE]\n\n"
    )
    assert await read(await serve(pieces(event))) == [
        Delta(1, "tool_arguments", "", 0, "x", "f"),
        Delta(1, "tool_arguments", "{", 1),
    ]


def logprob_event(text: str, *tokens: str) -> bytes:
    entries = ",".join(f'{{"token":"{token}"}}' for token in tokens)
    choice = f'{{"index":0,"delta":{{"content":"{text}"}},"logprobs":{{"content":[{entries}]}}}}'
    return f'data: {{"choices":[{choice}]}}\n\n'.encode()


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([("", ["", "é"]), ("é", [])], [("é", ["", "é"])]),  # half a character, then the whole
        ([("", ["The"]), ("The ca", [" capital"]), ("pital", [])], [("The ca", ["The"]), ("pital", [" capital"])]),
        ([("Hi", [" Hi"]), (" you", [" you"])], [("Hi", [" Hi"]), (" you", [" you"])]),  # sentencepiece
        ([("Hi", ["Hi", "<end>"])], [("Hi", ["Hi"])]),  # the end token has no text
    ],
)
async def test_logprobs_align(serve: Serve, events: Any, expected: Any):
    """Log-probabilities come with the last character of their token, or never when that never comes."""
    client = await serve(pieces(*(logprob_event(text, *tokens) for text, tokens in events), b"data: [DONE]\n\n"))
    found = [(delta.text, [entry["token"] for entry in delta.logprobs or ()]) for delta in await read(client)]
    assert found == expected


VECTORS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
    "model": "m",
    "usage": {},
}


async def test_embed(serve: Serve):
    """Vectors come back as the engine made them, without what else it says; the request goes as it is."""
    asked: list[Any] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append((request.path, await request.json()))
        return web.json_response(VECTORS | {"id": "embd-1", "path": "a secret path"})

    client = await serve(answer)
    assert await client.embed({"model": "m", "input": "Hi"}) == VECTORS
    assert asked == [("/v1/embeddings", {"model": "m", "input": "Hi"})]


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (404, {"detail": "Not Found"}),
        (404, {"error": {"message": "Not Found", "type": "Not Found", "code": 404}}),
        (405, {}),
        (501, {}),
        (400, {"error": {"message": "The model does not support Embeddings API"}}),
    ],
)
async def test_no_embedding(serve: Serve, code: int, body: Any):
    """An engine without the route, or one that says its model cannot, is a 404 that says so."""
    client = await serve(status(code, body))
    with pytest.raises(EngineRejected, match="does not embed") as caught:
        await client.embed({"model": "m", "input": "Hi"})
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("code", "body", "kind"),
    [
        (404, {"error": {"message": "The model `x` does not exist."}}, EngineRejected),
        (400, {"error": {"message": "too long"}}, EngineRejected),
        (500, {}, EngineUnavailable),
        (200, {}, EngineUnavailable),
        (200, {"data": [1]}, EngineUnavailable),
        (200, [], EngineUnavailable),
    ],
)
async def test_embed_fails(serve: Serve, code: int, body: Any, kind: type[Exception]):
    """The caller's faults are told as the engine tells them; anything else, nonsense too, is the engine's."""
    client = await serve(status(code, body))
    with pytest.raises(kind, match="engine" if kind is EngineUnavailable else "not exist|too long"):
        await client.embed({"model": "m", "input": "Hi"})
