"""The console as a command, and beside the gateway."""

import asyncio
import re
import subprocess

import httpx

from tests.gateway import SLUICEGATE, environment, wire

READY = rb"review console is ready: (http://[\d.:]+)"
PASSWORD = rb"one-time password \(shown this once\): (\S+)"
POLICY = "name: p\nversion: 1\nguards: [patterns]\ninput: {secret: {action: flag}}\n"


async def started(said):
    """What a process says until its console and, after it, nothing more is waited for."""
    lines = b""
    while not (re.search(READY, lines) and b"login" in lines):
        line = await asyncio.wait_for(said.readline(), 60)
        assert line, lines.decode()
        lines += line
    return lines


async def test_the_first_start_makes_a_login_that_works_once_changed(tmp_path):
    """A one-time password is printed at the first start alone; it logs in, and leads to the choice of another."""
    said = []
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            SLUICEGATE, "console", "--port", "0", env=environment(tmp_path), stderr=asyncio.subprocess.PIPE
        )
        said.append(await started(process.stderr))
        if len(said) == 1:
            url = re.search(READY, said[0])[1].decode()
            async with httpx.AsyncClient(base_url=url, headers={"origin": url}, timeout=30) as browser:
                form = (await browser.get("/login")).text
                data = {"login": "admin", "password": re.search(PASSWORD, said[0])[1].decode()}
                data["csrf"] = re.search(r'name="csrf" value="(\w+)"', form)[1]
                answer = await browser.post("/login", data=data, follow_redirects=True)
                assert "The one you came with is for one time" in answer.text
        process.terminate()
        await process.wait()
    assert re.search(PASSWORD, said[0])
    assert not re.search(PASSWORD, said[1])


async def test_serve_starts_it_too_and_ends_it(tmp_path):
    """`sluicegate serve` brings a console on another origin, and takes it along when it is killed."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    async with wire("Hello.") as engine:
        settings = {"policy": str(tmp_path / "policy.yaml"), "engine_url": engine, "console": "true"}
        own = environment(tmp_path / "home", console_port="0", **settings)
        process = await asyncio.create_subprocess_exec(
            SLUICEGATE, "serve", "--port", "0", env=own, stderr=asyncio.subprocess.PIPE
        )
        lines = await started(process.stderr)
        url = re.search(READY, lines)[1].decode()
        async with httpx.AsyncClient() as browser:
            assert (await browser.get(f"{url}/health")).json() == {"status": "ok"}
            assert (await browser.get(f"{url}/v1/models")).status_code == 404
            process.kill()
            await process.wait()
            for _ in range(200):
                try:
                    await browser.get(f"{url}/health")
                except httpx.TransportError:
                    return
                await asyncio.sleep(0.05)
    raise AssertionError("the console outlived the gateway")


def test_a_taken_port_says_what_to_do(tmp_path):
    """The port and the setting are named, without a traceback."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [SLUICEGATE, "console", "--port", port],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert port in done.stderr
    assert "SLUICEGATE_CONSOLE_PORT" in done.stderr
    assert "Traceback" not in done.stderr
