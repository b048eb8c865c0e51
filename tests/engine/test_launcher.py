"""The supervised child: a small stand-in for vLLM shows the ways to die, the real one shows that nothing is left."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, closing
from pathlib import Path
from socket import socket

import psutil
import pytest

from service.engine.client import VllmClient
from service.engine.launcher import EngineProcess, EngineStartError
from service.engine.leash import leashed
from service.engine.model import Model
from service.gate.exchange import EngineUnavailable
from service.settings import Settings

# Listens like vLLM does, in a child process as vLLM does, and takes its arguments. `--say X` prints X and dies.
STAND_IN = """
import argparse, os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--say")
parser.add_argument("--sleep", type=float, default=0)
arguments, _ = parser.parse_known_args(sys.argv[3:])
if arguments.say:
    sys.exit(arguments.say)
time.sleep(arguments.sleep)
if os.fork() == 0:
    time.sleep(1000)
class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
HTTPServer(("127.0.0.1", arguments.port), Health).serve_forever()
"""
Launch = Callable[..., EngineProcess]
PROVE = os.environ.get("SLUICEGATE_PROVE") == "1"


@pytest.fixture
async def launch(tmp_path: Path) -> AsyncIterator[Launch]:
    """An EngineProcess whose environment holds the stand-in."""
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path}/stand_in.py "$@"\n')
    python.chmod(0o755)
    started = []

    def make(arguments: str = "", port: int = 0) -> EngineProcess:
        process = EngineProcess(tmp_path / "env", Model("m", "m"), tmp_path, port=port, arguments=arguments)
        started.append(process)
        return process

    yield make
    for process in started:
        await process.stop()


def group(leader: int) -> list[int]:
    """Living processes of a process group."""
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            if process.info["status"] != psutil.STATUS_ZOMBIE and os.getpgid(process.pid) == leader:
                found.append(process.pid)
        except ProcessLookupError:
            pass
    return found


async def gone(leader: int, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while group(leader):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


async def test_stop_leaves_nothing(launch: Launch):
    """Stopping ends the engine, its children included, and may be done twice."""
    process = launch()
    await process.start()
    await process.wait_ready(20)
    leader = process.pid
    assert leader
    assert len(group(leader)) == 3
    await process.stop()
    await process.stop()
    assert group(leader) == []
    assert process.pid is None


async def test_restart(launch: Launch):
    """An engine that dies after it was ready is started again under the same address and key."""
    process = launch()
    await process.start()
    await process.wait_ready(20)
    first, url, key = process.pid, process.url, process.key
    assert first
    os.kill(psutil.Process(first).children()[0].pid, signal.SIGKILL)
    client = VllmClient(url, key)
    deadline = time.monotonic() + 20
    while process.restarts == 0 or not await client.ready():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await client.close()
    assert (process.url, process.key) == (url, key)
    assert process.pid != first
    assert group(first) == []


async def test_leash_killed(launch: Launch):
    """Whoever kills the leash alone gains nothing: what it held is ended, and the engine starts again."""
    process = launch()
    await process.start()
    await process.wait_ready(20)
    first = process.pid
    assert first
    os.kill(first, signal.SIGKILL)
    assert await gone(first, 5)
    while process.pid in (first, None):
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("RuntimeError: Cannot allocate memory", "VLLM_CPU_KVCACHE_SPACE=1"),
        ("OSError: no file named model.safetensors", "SLUICEGATE_MODEL"),
        ("error: unrecognized arguments: --nonsense", "SLUICEGATE_ENGINE_ARGS"),
        ("OSError: [Errno 28] No space left on device", "SLUICEGATE_HOME"),
        ("something else", "whole log"),
    ],
)
async def test_dies_at_start(launch: Launch, said: str, advice: str):
    """An engine that dies at start is an error with the end of its log and what to do."""
    process = launch(f"--say '{said}'")
    await process.start()
    with pytest.raises(EngineStartError) as error:
        await process.wait_ready(20)
    assert said in str(error.value)
    assert advice in str(error.value)
    assert process.pid is None


async def test_too_slow(launch: Launch):
    """An engine that is not ready in time is ended."""
    process = launch("--sleep 60")
    await process.start()
    leader = process.pid
    assert leader
    with pytest.raises(EngineStartError, match="not ready after 1 s"):
        await process.wait_ready(1)
    assert group(leader) == []


async def test_port_taken(launch: Launch):
    """A taken port is said before anything is started."""
    with closing(socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = launch(port=taken.getsockname()[1])
        with pytest.raises(EngineStartError, match="SLUICEGATE_ENGINE_PORT"):
            await process.start()
    assert process.pid is None


async def test_no_environment(tmp_path: Path):
    """Without the environment the message names the command that makes it."""
    with pytest.raises(EngineStartError, match="sluicegate engine install"):
        await EngineProcess(tmp_path, Model("m", "m"), tmp_path).start()


def test_environment(launch: Launch, monkeypatch: pytest.MonkeyPatch):
    """The engine does not inherit the service's secrets, and its key is not on its command line."""
    monkeypatch.setenv("SLUICEGATE_ADMIN_KEY", "top-secret")

    async def scenario() -> None:
        process = launch()
        await process.start()
        await process.wait_ready(20)
        assert process.pid
        (child,) = psutil.Process(process.pid).children()
        assert process.key not in " ".join(child.cmdline())
        assert child.environ()["VLLM_API_KEY"] == process.key
        assert "SLUICEGATE_ADMIN_KEY" not in child.environ()
        await process.stop()

    asyncio.run(scenario())


async def test_leash_patience():
    """A command that ignores SIGTERM is killed after the grace, its children too, when whoever started it is killed."""
    command = ["sh", "-c", "trap '' TERM; sleep 1000 & echo up; sleep 1000; sleep 1000"]
    starter = (
        "import json, subprocess, sys, time\n"
        "held = subprocess.Popen(json.loads(sys.argv[1]), stdin=subprocess.PIPE, start_new_session=True)\n"
        "print(held.pid, flush=True)\n"
        "time.sleep(1000)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", starter, json.dumps(leashed(command, 0.5)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    lines = {(await process.stdout.readline()).strip() for _ in range(2)}
    leader = int((lines - {b"up"}).pop())
    assert len(group(leader)) >= 3
    process.kill()
    await process.wait()
    assert await gone(leader, 5)


@pytest.mark.parametrize(("command", "code"), [("exit 3", 3), ("kill -9 $$", 137), ("true", 0)])
def test_leash_exit_code(command: str, code: int):
    """The leash ends as its command ended."""
    with subprocess.Popen(leashed(["sh", "-c", command], 1), stdin=subprocess.PIPE, start_new_session=True) as process:
        assert process.wait(10) == code


@pytest.mark.engine
async def test_broken_model(tmp_path: Path):
    """A folder that vLLM cannot load ends in an error that names the setting to mend."""
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
    process = EngineProcess(Settings().engine_env, Model(str(tmp_path), "broken"), tmp_path)
    await process.start()
    with pytest.raises(EngineStartError, match="SLUICEGATE_MODEL"):
        await process.wait_ready(300)
    assert process.pid is None


SUPERVISOR = """
import asyncio, json, sys
from pathlib import Path
import structlog
from service.engine.launcher import EngineProcess
from service.engine.model import Model
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
async def main():
    settings = json.loads(sys.argv[1])
    model = Model(settings["source"], settings["name"], tuple(settings["flags"]))
    engine = EngineProcess(Path(settings["env"]), model, Path(settings["home"]))
    await engine.start()
    await engine.wait_ready(300)
    print(json.dumps([engine.url, engine.key, engine.pid]), flush=True)
    while True:
        print(json.dumps(engine.pid), flush=True)
        await asyncio.sleep(0.2)
asyncio.run(main())
"""


@pytest.mark.engine
async def test_vllm_dies_and_its_supervisor_too(small_model: Model, tmp_path: Path):
    """A killed vLLM breaks its streams off and comes back; a killed supervisor leaves nothing of vLLM."""
    env = str(Settings().engine_env)
    asked = {"source": small_model.source, "name": small_model.name, "flags": small_model.flags}
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SUPERVISOR,
        json.dumps(asked | {"env": env, "home": str(tmp_path)}),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1"},
    )
    assert supervisor.stdout
    url, key, first = json.loads(await supervisor.stdout.readline())
    client = VllmClient(url, key)
    body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2000, "ignore_eos": True}
    async with aclosing(client.stream("chat", body, "tenant")) as stream:
        await anext(stream)
        os.kill(psutil.Process(first).children()[0].pid, signal.SIGKILL)
        with pytest.raises(EngineUnavailable):
            [_ async for _ in stream]
    assert await gone(first, 15)
    while (second := json.loads(await supervisor.stdout.readline())) in (first, None):
        pass
    deadline = time.monotonic() + 240
    while len(group(second)) < 4:  # the leash, vLLM, its engine core and worker
        assert time.monotonic() < deadline
        await asyncio.sleep(0.5)
    if PROVE:
        while not await client.ready():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.5)
        assert [delta async for delta in client.stream("chat", body | {"max_tokens": 3}, "tenant")]
    await client.close()
    supervisor.kill()
    await supervisor.wait()
    assert await gone(second, 15)
