"""The real HTTP service on a real uvicorn on loopback, in a thread of its own; only what the caller passes is fake."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from guards.guard import Guard
from guards.policy import Policy
from service.api import create_api
from service.api.deps import Api
from service.gate.exchange import Caller, Role
from service.gate.pipeline import Gate
from service.judges import BatchedJudges
from service.ledger.ledger import SqlLedger
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.fakes import FixedKeys, MemoryLedger, ScriptedEngine

KEY = "sg-client-test"
OPERATOR_KEY = "sg-operator-test"
LONG_KEY = "sg-client-" + "test" * 10
MODERATOR_KEY = "sg-moderator-test"
ADMIN_KEY = "sg-admin-test"
CALLERS = {
    KEY: Caller("key_client", "acme", requests_per_minute=1_000_000),
    LONG_KEY: Caller("key_long", "acme"),
    OPERATOR_KEY: Caller("key_operator", "acme", Role.OPERATOR),
    ADMIN_KEY: Caller("key_admin", "acme", Role.ADMIN, requests_per_minute=1_000_000),
    MODERATOR_KEY: Caller("key_moderator", "acme", Role.MODERATOR),
}


@dataclass
class Served:
    url: str = ""
    key: str = KEY
    engine: Any = None
    ledger: Any = field(default_factory=MemoryLedger)
    metrics: Metrics = field(default_factory=Metrics)


@contextmanager
def served(
    policy: Policy,
    guards: Sequence[Guard],
    engine: Any = None,
    ledger: MemoryLedger | None = None,
    settings: Settings | None = None,
    max_exchanges: int = 256,
    home: Path | None = None,
) -> Iterator[Served]:
    """Serves until the block ends; yields where, and what is behind it. `home`: of a real ledger."""
    service = Served(engine=engine or ScriptedEngine(), ledger=ledger or MemoryLedger())
    settings = settings or Settings(home=Path("var"), requests_per_minute=1_000_000, wrong_keys_per_minute=1_000_000)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    service.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    started, stopped = threading.Event(), threading.Event()

    async def main() -> None:
        async with BatchedJudges(guards, service.metrics) as judges, _ledger(home) as real:
            service.ledger = real or service.ledger
            gate = Gate(service.engine, judges, service.ledger, lambda _: policy, service.metrics, max_exchanges)
            known = gate, FixedKeys(CALLERS), settings, service.metrics, judges.guards, lambda: service.ledger.writable
            up = getattr(service.engine, "up", True)
            app = create_api(Api(*known, store=real.store if real else None, engine_up=lambda: up))
            config = uvicorn.Config(
                app, log_config=None, lifespan="off", timeout_graceful_shutdown=2, timeout_keep_alive=75
            )
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            while not server.started:
                await asyncio.sleep(0.005)
            started.set()
            while not stopped.is_set():
                await asyncio.sleep(0.02)
            server.should_exit = True
            await serving

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    if not started.wait(60):  # a busy machine is slow to start, and that is no fault
        raise RuntimeError("the service did not start")
    try:
        yield service
    finally:
        stopped.set()
        thread.join(10)
        listener.close()


@asynccontextmanager
async def _ledger(home: Path | None) -> AsyncIterator[SqlLedger | None]:
    if home is None:
        yield None
        return
    ledger = SqlLedger(Settings(home=home))
    await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.stop()
