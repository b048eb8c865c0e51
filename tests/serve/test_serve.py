"""`sluicegate serve` as an operator meets it: started, stopped, and started wrongly."""

import asyncio
import json
import resource
import signal
import socket
import subprocess
from pathlib import Path

import aiohttp
import pytest

from tests.gateway import KEY, SLUICEGATE, environment, gateway, wire

PATTERNS = "name: p\nversion: 1\nguards: [patterns]\noutput: {card: {action: redact}}\n"
TEXT = "A stream that takes about two seconds to end, so that it is still open when we are told to stop. " * 4


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(PATTERNS)
    return str(path)


def refused(home: Path, *arguments: str, limit: int | None = None, **settings: str) -> str:
    """What `serve` says when it cannot start; checks that it says it plainly."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [SLUICEGATE, "serve", "--port", "0", *arguments],
        env=environment(home, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=limited if limit is not None else None,
    )
    assert done.returncode not in (0, None), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_taken_port_says_what_to_do(tmp_path, policy):
    """The port is named, and another way is shown, before the engine is loaded."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(tmp_path, "--port", str(port), policy=policy, engine_url="http://127.0.0.1:9")
    assert str(port) in said
    assert "PORT=" in said


def test_a_wrong_policy_ends_the_start(tmp_path, policy):
    """A policy that names what no guard judges is refused at start, with its place."""
    Path(policy).write_text(PATTERNS + "input: {harm: {}}\n")
    said = refused(tmp_path, policy=policy, engine_url="http://127.0.0.1:9")
    assert "input.harm" in said


def test_a_wrong_setting_is_named(tmp_path, policy):
    """A setting out of range is named as the variable it came from."""
    said = refused(tmp_path, policy=policy, max_exchanges="none")
    assert "SLUICEGATE_MAX_EXCHANGES" in said


async def test_only_a_trusted_proxy_tells_the_address(tmp_path, policy):
    """X-Forwarded-For of whom is not named as a proxy is not believed: wrong keys count for the real address."""
    settings = {"policy": policy, "engine_url": "http://127.0.0.1:9", "wrong_keys_per_minute": "2"}
    async with (
        gateway(tmp_path, **settings, trusted_proxies="192.0.2.0/24") as (_, url),
        aiohttp.ClientSession() as http,
    ):
        seen = []
        for number in range(4):
            headers = {"Authorization": "Bearer wrong", "X-Forwarded-For": f"198.51.100.{number}"}
            async with http.get(f"{url}/v1/models", headers=headers) as response:
                seen.append(response.status)
    assert seen == [401, 401, 429, 429]


def test_a_full_disk_says_what_to_do(tmp_path, policy):
    """Without room for the ledger the service does not start, and says where room is needed."""
    said = refused(tmp_path / "home", limit=0, policy=policy, engine_url="http://127.0.0.1:9")
    assert "error:" in said
    assert "disk" in said.lower() or "SLUICEGATE_HOME" in said


def test_a_missing_model_says_what_to_do(tmp_path, policy):
    """A model folder that does not exist is named."""
    said = refused(tmp_path, policy=policy, model=str(tmp_path / "nowhere"))
    assert "SLUICEGATE_MODEL" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_open_streams_are_drained(tmp_path, policy, number):
    """After the signal an open stream ends whole, new connections are refused, and the exit code is 0."""
    async with (
        wire(TEXT, cut=4, pause_s=0.02) as engine,
        gateway(tmp_path / "home", policy=policy, engine_url=engine) as (process, url),
    ):
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
            body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "go"}]}
            async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                await response.content.readuntil(b'content":"A')
                process.send_signal(number)
                await asyncio.sleep(0.3)
                with pytest.raises(aiohttp.ClientConnectorError):
                    await session.get(f"{url}/health/live")
                rest = await response.read()
        assert rest.endswith(b"data: [DONE]\n\n")
        assert b'"finish_reason":"stop"' in rest
        assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_a_second_signal_ends_at_once(tmp_path, policy):
    """Whoever does not want to wait for the streams signals again; what was open is recorded."""
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "go"}]}
    async with (
        wire(TEXT, cut=1, pause_s=0.1) as engine,
        gateway(tmp_path / "home", policy=policy, engine_url=engine) as (process, url),
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
        session.post(f"{url}/v1/chat/completions", json=body) as response,
    ):
        await response.content.readuntil(b'content":"A')
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_keys_are_made_and_shown_once(tmp_path, policy):
    """Without keys in the environment the first start shows them; they work, and later starts show none."""
    bare = {n: v for n, v in environment(tmp_path / "home").items() if not n.endswith(("CLIENT_KEY", "ADMIN_KEY"))}
    async with wire("Hello.") as engine:
        bare |= {"SLUICEGATE_POLICY": policy, "SLUICEGATE_ENGINE_URL": engine, "SLUICEGATE_HOME": str(tmp_path)}
        said = []
        for _ in range(2):
            process = await asyncio.create_subprocess_exec(
                SLUICEGATE, "serve", "--port", "0", env=bare, stderr=asyncio.subprocess.PIPE
            )
            lines = b""
            while b"curl" not in lines:
                lines += await process.stderr.readline()
            said.append(lines.decode())
            if len(said) == 1:
                await curl_works(lines.decode())
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    assert "sg-client-" in said[0]
    assert "sg-admin-" in said[0]
    assert "sg-client-" not in said[1]
    assert oct((tmp_path / "master.key").stat().st_mode)[-3:] == "600"


async def curl_works(said: str) -> None:
    """Runs the very line that was printed."""
    line = next(line.strip() for line in said.splitlines() if line.strip().startswith("curl"))
    process = await asyncio.create_subprocess_shell(line + " -s", stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert json.loads(out)["choices"][0]["message"]["content"] == "Hello."
