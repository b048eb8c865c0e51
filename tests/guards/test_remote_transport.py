"""The wire to remote guards, against a real server that misbehaves."""

import asyncio
import datetime
import gzip
import socket
import ssl
import time
from contextlib import contextmanager

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from guards.guard import GuardError
from guards.transport import Endpoint, Unreachable
from service.transport import RETRIES, HttpTransport
from tests.far_end import far_end


@contextmanager
def wire(handler, path="", **fields):
    """A transport to a server that answers with `handler`."""
    with far_end(handler) as url, connected(url=url + path, **fields) as transport:
        yield transport


@contextmanager
def connected(most_bytes=4_000_000, **fields):
    transport = HttpTransport(Endpoint(**fields), most_bytes=most_bytes)
    try:
        yield transport
    finally:
        transport.close()


async def echo(request):
    return web.json_response({"path": request.path, "body": await request.json(), "headers": dict(request.headers)})


def test_bodies_are_answered_in_their_order():
    """Each body is posted below the url, and the answers come back in the order of the bodies."""

    async def slower_first(request):
        body = await request.json()
        await asyncio.sleep(0.05 * (3 - body["n"]))
        return web.json_response({"n": body["n"], "path": request.path})

    with wire(slower_first, "/v1") as transport:
        found = transport.post("/judge", [{"n": n} for n in range(4)])
    assert found == [{"n": n, "path": "/v1/judge"} for n in range(4)]


def test_several_are_under_way_at_once_and_no_more_than_allowed():
    """`at_once` requests are open together, so a batch costs about its number of rounds."""
    open_now = most = 0

    async def counting(_request):
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.03)
        open_now -= 1
        return web.json_response({})

    with wire(counting, at_once=4) as transport:
        transport.post("", [{}] * 12)
    assert most == 4


def test_only_our_own_headers_and_the_key_are_sent(monkeypatch):
    """The key of `key_env` is the bearer token; a proxy of the environment plays no part."""
    monkeypatch.setenv("JUDGE_KEY", "sk-judge")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with wire(echo, key_env="JUDGE_KEY") as transport:
        (found,) = transport.post("/judge", [{"a": 1}])
    assert found["headers"]["Authorization"] == "Bearer sk-judge"
    assert {name.lower() for name in found["headers"]} <= {
        "host", "accept", "accept-encoding", "authorization", "content-length", "content-type", "user-agent",
    }  # fmt: skip


def test_a_key_that_is_not_set_is_told(monkeypatch):
    """A transport whose key is missing is not made, and the message names the variable."""
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(GuardError, match="JUDGE_KEY is not set"):
        HttpTransport(Endpoint(url="http://judge.test", key_env="JUDGE_KEY"))


async def hang(_request):
    await asyncio.sleep(30)


async def slow_drip(request):
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(300):
        await response.write(b" ")
        await asyncio.sleep(0.05)
    return response


@pytest.mark.parametrize("handler", [hang, slow_drip])
def test_the_time_limit_is_for_the_whole_batch(handler):
    """Silence, and an answer that comes in drips, end at the time limit."""
    with wire(handler, timeout_s=0.3, at_once=1) as transport:
        began = time.monotonic()
        with pytest.raises(Unreachable, match="timeout"):
            transport.post("", [{}] * 5)
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("status", [204, 301, 302, 307, 401, 403, 404, 408, 429, 502, 503, 504])
def test_a_status_of_the_far_end_is_unreachable(status):
    """What no passage can have caused says that the far end, not the passage, is at fault."""

    async def answer(_request):
        return web.Response(status=status, text="{}" if status != 204 else None)

    with wire(answer) as transport, pytest.raises(Unreachable, match=f"status {status}"):
        transport.post("", [{}])


@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_a_status_that_a_passage_may_cause_fails_that_passage(status):
    """What one body may have caused is an error of that body alone."""

    async def answer(_request):
        return web.Response(status=status, text="{}")

    with wire(answer) as transport, pytest.raises(GuardError, match=f"status {status}") as caught:
        transport.post("", [{}])
    assert not isinstance(caught.value, Unreachable)


def test_a_redirect_is_not_followed():
    """Text and key go to the configured host and to no other."""
    reached = []

    async def elsewhere(request):
        reached.append(request.path)
        return web.json_response({})

    with far_end(elsewhere) as other:

        async def redirect(_request):
            return web.Response(status=307, headers={"location": other + "/judge"})

        with wire(redirect) as transport, pytest.raises(Unreachable, match="307"):
            transport.post("/judge", [{"text": "secret"}])
    assert reached == []


@pytest.mark.parametrize(
    "body", [b"", b'{"results": [', b"[]", b"null", b'"clean"', b"<html>", b'{"a": NaN}', b"\xff\xfe"]
)
def test_what_is_no_json_object_is_an_error(body):
    """Half a document, another type, another format: none of it is an answer."""

    async def answer(_request):
        return web.Response(body=body, content_type="application/json")

    with wire(answer) as transport, pytest.raises(GuardError, match="unparsable"):
        transport.post("", [{}])


def test_a_huge_answer_is_cut_off():
    """No more is read than the limit, however long the answer goes on."""
    sent = 0

    async def endless(request):
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)
            sent += 65_536

    with wire(endless, most_bytes=100_000) as transport, pytest.raises(GuardError, match="larger than 100000 bytes"):
        transport.post("", [{}])
    assert sent < 20_000_000


def test_a_compressed_answer_is_not_unpacked():
    """Compression was not asked for: a small answer cannot become a huge one here."""

    async def packed(_request):
        return web.Response(body=gzip.compress(b'{"a": 1}'), headers={"content-encoding": "gzip"})

    with wire(packed) as transport, pytest.raises(GuardError, match="unparsable"):
        transport.post("", [{}])


def test_connection_errors_are_tried_again_and_answers_are_not():
    """A connection that breaks is made again a few times; an answered error is final."""
    asked = 0

    async def breaks_twice(request):
        nonlocal asked
        asked += 1
        if asked <= RETRIES:
            request.transport.close()
            await asyncio.sleep(1)
        return web.json_response({"ok": True})

    with wire(breaks_twice) as transport:
        assert transport.post("", [{}]) == [{"ok": True}]
    assert asked == RETRIES + 1

    async def refuses(_request):
        nonlocal asked
        asked += 1
        return web.Response(status=503)

    asked = 0
    with wire(refuses) as transport, pytest.raises(Unreachable):
        transport.post("", [{}])
    assert asked == 1


def test_a_certificate_that_nobody_signed_is_refused(tmp_path):
    """Neither text nor key is sent to a server that cannot prove its name, and it is not asked twice."""
    reached = []

    async def answer(request):
        reached.append(request.path)
        return web.json_response({})

    with (
        far_end(answer, ssl_context=self_signed(tmp_path)) as url,
        connected(url=url.replace("http:", "https:")) as transport,
        pytest.raises(Unreachable, match="certificate"),
    ):
        transport.post("", [{}])
    assert reached == []


def self_signed(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    file = folder / "server.pem"
    file.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return context


def test_nobody_there_is_unreachable():
    """A port where nothing listens is told as such."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with connected(url=f"http://127.0.0.1:{port}") as transport, pytest.raises(Unreachable, match="no connection"):
        transport.post("", [{}])


def test_an_answer_that_breaks_off_is_an_error():
    """Fewer bytes than announced are no answer."""

    async def half(request):
        response = web.StreamResponse(headers={"content-length": "100"})
        await response.prepare(request)
        await response.write(b'{"results": []}')
        request.transport.close()
        return response

    with wire(half) as transport, pytest.raises(Unreachable):
        transport.post("", [{}])


def test_messages_hold_neither_text_nor_key(monkeypatch):
    """Whatever goes wrong, what was asked and with which key is not in the message."""
    monkeypatch.setenv("JUDGE_KEY", "sk-judge-secret")

    async def leaky(request):
        return web.Response(status=500, text=f"{request.headers['authorization']} {await request.text()}")

    with wire(leaky, key_env="JUDGE_KEY") as transport, pytest.raises(GuardError) as caught:
        transport.post("", [{"text": "my private words"}])
    assert str(caught.value) == "status 500"
