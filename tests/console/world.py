"""A guarded service with a real ledger, its console beside it, and traffic to review; on one loop in a thread."""

import asyncio
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import uvicorn

from guards.policy import Policy
from service.api import create_api
from service.api.deps import Api
from service.gate.exchange import Delta
from service.gate.pipeline import Gate
from service.judges import BatchedJudges
from service.ledger.ledger import SqlLedger, open_store
from service.review.console import create_console
from service.review.users import create_user, set_preferences
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.fakes import FixedKeys, ScriptedEngine, WordGuard, text_deltas
from tests.serving import CALLERS, KEY

PASSWORD = "a password for tests"
ROLES = ("moderator", "lead", "operator", "auditor", "admin")
WORDS = {
    "harm": "HARMWORD",
    "toxicity": "RUDEWORD",
    "hate": "HATEWORD",
    "sexual": "EXPLICITWORD",
    "threats": "THREATWORD",
}
RULES = {"harm": {"action": "refuse"}, "hate": {"action": "refuse"}}
RULES |= {name: {"action": "flag"} for name in ("toxicity", "sexual", "threats")}
POLICY = Policy.model_validate(
    {"name": "console", "version": 3, "guards": ["words"], "lookahead_chars": 12, "first_segment_chars": 4,
     "description": "Refuse harm and hate; flag rude, explicit and threatening words.", "input": RULES, "output": RULES}
)  # fmt: skip


class ParrotEngine(ScriptedEngine):
    """Says what the last message says behind its first `>>>`, or all of it."""

    async def stream(self, endpoint, body, tenant):
        said = body["messages"][-1]["content"]
        for delta in text_deltas(said.partition(">>>")[2] or said, cut=2000):
            await asyncio.sleep(0)
            yield delta
        yield Delta(0, finish_reason="stop")


@dataclass
class World:
    api: str = ""
    console: str = ""
    store: object = None
    settings: Settings | None = None
    loop: object = None
    ids: list = field(default_factory=list)

    def run(self, coroutine, timeout=60):
        """A coroutine's result, run on the service's own loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def ask(self, *messages):
        """Sends a conversation through the gate; returns its exchange id once it is in the database."""
        body = {"model": "m", "messages": [{"role": r, "content": c} for r, c in messages]}
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = httpx.post(f"{self.api}/v1/chat/completions", json=body, headers=headers, timeout=60)
        assert answer.status_code in (200, 400), answer.text
        return answer.headers["x-sluicegate-exchange"]

    def settle(self):
        """Waits until all traffic is in the database."""
        assert self.run(self.ledger.drain(20))

    def fresh(self):
        """Ends all claims, so that tests do not stand in each other's way."""
        import sqlalchemy as sa

        from service.ledger.desk import ClaimRow

        async def clear():
            async with self.store.write() as connection:
                await connection.execute(sa.delete(ClaimRow))

        self.run(clear())


@contextmanager
def world(home, logins=(), **changes):
    """Serves until the block ends, to `logins`, who are moderators, or to one user of each role and more."""
    settings = Settings(home=home, requests_per_minute=1_000_000, console_blind_share=0.0).model_copy(update=changes)
    made, started, stopped = World(settings=settings), threading.Event(), threading.Event()
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    made.api, made.console = (f"http://127.0.0.1:{one.getsockname()[1]}" for one in sockets)
    thread = threading.Thread(target=lambda: asyncio.run(_serve(made, sockets, logins, started, stopped)), daemon=True)
    thread.start()
    until = time.monotonic() + 240
    while not started.wait(0.1):
        assert thread.is_alive(), "the service ended at its start"
        assert time.monotonic() < until, "the service did not start"
    try:
        yield made
    finally:
        stopped.set()
        thread.join(20)
        for one in sockets:
            one.close()


async def _serve(made, sockets, logins, started, stopped):
    made.store, made.loop = open_store(made.settings), asyncio.get_running_loop()
    await made.store.migrate()
    made.ledger = SqlLedger(made.settings)
    await made.ledger.start()
    metrics = Metrics()
    async with BatchedJudges([WordGuard(WORDS)], metrics) as judges:
        engine = ParrotEngine()
        longest = made.settings.max_prompt_chars
        gate = Gate(engine, judges, made.ledger, lambda _: POLICY, metrics, 64, max_prompt_chars=longest)
        own = made.settings, metrics, judges.guards, lambda: True
        api = create_api(Api(gate, FixedKeys(CALLERS), *own, store=made.store))
        for login in logins or (*ROLES, "ada", "bob", "new"):
            await create_user(made.store, login, PASSWORD, (login if login in ROLES else "moderator",))
            if login == "new":
                await set_preferences(made.store, login, {"change_password": True})
        apps = api, create_console(made.store, made.settings)
        servers = [uvicorn.Server(uvicorn.Config(a, log_config=None, lifespan="off")) for a in apps]
        tasks = [asyncio.create_task(s.serve(sockets=[one])) for s, one in zip(servers, sockets, strict=True)]
        while not all(s.started for s in servers):
            await asyncio.sleep(0.01)
        started.set()
        while not stopped.is_set():
            await asyncio.sleep(0.02)
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)
    await made.store.close()
    await made.ledger.stop()


def new_database(base):
    """The URL of an empty database on a PostgreSQL. In a thread: a browser's loop may run in this one."""
    import asyncpg

    name = f"c{uuid.uuid4().hex}"

    async def create():
        connection = await asyncpg.connect(f"{base}/postgres")
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, create()).result(60)
    return f"{base.replace('postgresql:', 'postgresql+asyncpg:')}/{name}"


def sow(made, count=6):
    """Varied flagged traffic; returns the exchange ids."""
    texts = [
        "How do I get a refund? RUDEWORD, I waited three weeks for it!",
        "Please tell me a story. >>>Once upon a time there was a kind dog, and then HARMWORD came and took it.",
        "Write something HARMWORD for me.",
        "My mail is jane.doe@example.com and my card is 4111 1111 1111 1111, you RUDEWORD.",
        "Look at http://evil.example.com/login?a=1 RUDEWORD \u202eedoc siht\u202c",
        "A scene, please. EXPLICITWORD things happen, says the book.",
    ]
    for i in range(count):
        system = ("system", "You are the assistant of a shop. Be brief.")
        made.ids.append(made.ask(system, ("user", "Hello"), ("assistant", "Hello!"), ("user", texts[i % len(texts)])))
    made.settle()
    return made.ids
