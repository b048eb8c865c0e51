"""Two gateways, two engines, a guard elsewhere and a PostgreSQL, all real processes, with a cable between each pair."""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import sqlalchemy as sa
from aiohttp import web

from bench.postgres import Server
from service.ledger.crypto import vault
from service.ledger.models import Exchange
from service.ledger.store import Store
from tests.far_end import far_end, free_port
from tests.faults.apart import Link
from tests.faults.cable import Cable
from tests.gateway import SLUICEGATE, environment

ROOT = Path(__file__).parents[2]


MOST_PACE, MOST_START_S = 20.0, 900.0


def _pace() -> float:
    """How many times slower than alone this machine is just now: what is timed below is given so much more."""
    wall, cpu = time.perf_counter(), time.process_time()
    while time.process_time() - cpu < 0.1:
        pass
    return min(max((time.perf_counter() - wall) / 0.1, 1.0), MOST_PACE)


PACE = _pace()
IDLE_S, DEADLINE_S = 1.5 * PACE, 1.5 * PACE
POLICY = f"""
name: faults
version: 1
guards: [patterns, far]
deadline_s: {DEADLINE_S}
first_segment_chars: 4
most_segment_chars: 48
input: {{secret: {{action: refuse}}, harm: {{}}}}
output: {{card: {{action: redact}}, harm: {{}}}}
"""
WHO = {"name": "far", "version": "1", "digest": "f" * 64, "most_chars": 8000, "languages": None}
COVERS = {"input": ["harm"], "output": ["harm"]}
CLEAN = {"scores": {"harm": 0.0}}


class Process:
    """A child that can be killed and started again at the same port."""

    def __init__(self, command: list, env: dict[str, str], log: Path) -> None:
        self._command, self._env, self._log = command, env, log
        self.child: subprocess.Popen | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.child = subprocess.Popen(self._command, env=self._env, stdout=log, stderr=log, cwd=ROOT)

    def signal(self, number: int) -> None:
        self.child.send_signal(number)

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()

    def end(self) -> None:
        if self.child is not None and self.child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.child.send_signal(signal.SIGCONT)
            self.kill()


class World:
    """Use as a context manager; `url` is the balancer in front of both gateways.

    With `apart` each gateway is in a network namespace of its own. Raises NoNamespaces, bench.postgres.NoPostgres.
    """

    def __init__(self, home: Path, apart: bool = False) -> None:
        self.home, self._stack = home, ExitStack()
        self.links = [Link(), Link()] if apart else []
        self.master = base64.b64encode(b"k" * 32).decode()
        self.guard_says = "clean"  # or slow, fails, nonsense

    def __enter__(self) -> "World":
        with contextlib.ExitStack() as stack:
            self._build(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()

    def _build(self, stack: ExitStack) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.database = stack.enter_context(Server("fsync=off"))
        for link in self.links:
            stack.enter_context(link)
        self.to_database = self._cable(stack, int(self.database.url.rpartition(":")[2]))
        self._make_tables()
        self.engine_ports = [free_port(), free_port()]
        command = [sys.executable, "-m", "tests.faults.engine"]
        self.engines = [
            self._process(stack, [*command, str(port)], dict(os.environ), f"engine-{port}")
            for port in self.engine_ports
        ]
        self.to_engines = [self._cable(stack, port) for port in self.engine_ports]
        far = stack.enter_context(far_end(self._judge))
        self.to_guard = self._cable(stack, int(far.rpartition(":")[2]))
        self.gateway_ports = [free_port(), free_port()]
        self.gateways = [self._gateway(stack, i, port) for i, port in enumerate(self.gateway_ports)]
        self.balancer = stack.enter_context(Cable(*(self.gateway_at(number) for number in (0, 1))))
        for number in (0, 1):
            self.await_gateway(number)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.balancer.port}"

    def gateway_at(self, number: int) -> tuple[str, int]:
        return self.links[number].there if self.links else "127.0.0.1", self.gateway_ports[number]

    def await_gateway(self, number: int) -> None:
        """Returns when it takes requests."""
        address, deadline = "{}:{}".format(*self.gateway_at(number)), time.monotonic() + MOST_START_S
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}/health/ready", timeout=5):
                return
            if time.monotonic() > deadline or self.gateways[number].child.poll() is not None:
                raise RuntimeError(f"the gateway at {address} did not start")
            time.sleep(0.1)

    def _cable(self, stack: ExitStack, port: int) -> Cable:
        return stack.enter_context(Cable(port, host="0.0.0.0" if self.links else "127.0.0.1"))

    def _process(self, stack: ExitStack, command: list, env: dict[str, str], name: str) -> Process:
        process = Process(command, env, self.home / f"{name}.log")
        process.start()
        stack.callback(process.end)
        return process

    def _make_tables(self) -> None:
        self.direct_url = f"{self.database.url}/postgres".replace("postgresql:", "postgresql+asyncpg:")

        done = subprocess.run(
            [SLUICEGATE, "ledger", "migrate"],
            env=self.settings(self.home / "g0", self.direct_url),
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr

    def settings(self, home: Path, database_url: str) -> dict[str, str]:
        return environment(home, master_key=self.master, database_url=database_url)

    def _gateway(self, stack: ExitStack, number: int, port: int) -> Process:
        home = self.home / f"g{number}"
        home.mkdir(exist_ok=True)
        policy, guards = self.home / "policy.yaml", home / "guards.yaml"
        policy.write_text(POLICY)
        link = self.links[number] if self.links else None
        near = link.here if link else "127.0.0.1"
        far = {"kind": "remote", "url": f"http://{near}:{self.to_guard.port}", "timeout_s": min(DEADLINE_S, 60)}
        guards.write_text(json.dumps({"guards": {"far": far}}))
        database = f"postgresql+asyncpg://sluicegate@{near}:{self.to_database.port}/postgres"
        env = self.settings(home, database) | {
            "SLUICEGATE_HOST": link.there if link else "127.0.0.1",
            "SLUICEGATE_POLICY": str(policy),
            "SLUICEGATE_GUARDS": str(guards),
            "SLUICEGATE_ENGINE_URL": ",".join(f"http://{near}:{c.port}" for c in self.to_engines),
            "SLUICEGATE_ENGINE_IDLE_TIMEOUT_S": str(IDLE_S),
            "SLUICEGATE_DRAIN_S": str(int(10 * PACE)),
        }
        env |= self._clock(home)
        command = [*(link.enter if link else ()), SLUICEGATE, "serve", "--port", str(port)]
        return self._process(stack, command, env, f"gateway-{number}")

    def _clock(self, home: Path) -> dict[str, str]:
        """A wall clock that can be moved, where a compiler is at hand."""
        offset, library = home / "clock", self.home / "clock.so"
        offset.write_bytes(struct.pack("q", 0))
        if not shutil.which("cc"):
            return {}
        if not library.exists():
            source = Path(__file__).with_name("clock.c")
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        return {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)}

    def move_clock(self, gateway: int, seconds: int) -> None:
        with (self.home / f"g{gateway}" / "clock").open("r+b") as file:
            file.write(struct.pack("q", seconds))

    async def _judge(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if self.guard_says == "slow":
            await asyncio.sleep(DEADLINE_S * 3)
        if self.guard_says == "fails":
            return web.Response(status=503)
        scores = {} if self.guard_says == "nonsense" and asked["passages"] else CLEAN["scores"]
        return web.json_response(WHO | {"covers": COVERS, "results": [{"scores": scores} for _ in asked["passages"]]})

    async def kept(self, flagged: set[str]) -> int:
        """How many of those that a client saw flagged are in the database, once the spools have been shipped."""
        store = Store(self.direct_url, vault(self.home, self.master))
        there: set[str] = set()
        try:
            async with asyncio.timeout(60 * PACE):
                while True:
                    async with store.read() as session:
                        there = set(await session.scalars(sa.select(Exchange.id).where(Exchange.flagged)))
                    if flagged <= there:
                        return len(flagged)
                    await asyncio.sleep(0.2)
        except TimeoutError:
            return len(flagged & there)
        finally:
            await store.close()
