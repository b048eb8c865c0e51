"""A service with traffic, decisions, a version in shadow and figures of drift, watched by a real Prometheus."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import sqlalchemy as sa
from aiohttp import web

from service.ledger.desk import ReviewItem
from service.ledger.ledger import SqlLedger
from service.review.agreement import LEAST_ITEMS
from service.review.claims import claim
from service.review.decisions import Decision, submit
from service.review.reviewer import Reviewer
from service.settings import Settings
from tests.deploy.chart import rendered
from tests.deploy.prometheus import Prometheus, alertmanager, job, prometheus
from tests.far_end import far_end
from tests.gateway import KEY, gateway, wire
from tests.learning.conftest import guard_folder
from tests.store.events import clean, flagged, new_id
from training import drift

ADMIN = {"authorization": f"Bearer {KEY}-admin"}
CLIENT = {"authorization": f"Bearer {KEY}"}
WORDS = {"harm": "redwood", "toxicity": "harsh"}
ANSWER = "Certainly. A card number, 4111 1111 1111 1111, and after it a redwood and harsh words. "
GUARDS = """
guards:
  default: {kind: classifier, folder: shipped}
  strong: {kind: classifier, folder: strong}
  careful: {kind: cascade, first: default, then: strong, sample: 1.0}
  far: {kind: remote, url: URL, timeout_s: 30}
"""
POLICY = """
name: live
version: 1
guards: [patterns, default, careful, far]
deadline_s: 60
input: {secret: {}, harm: {action: flag}, toxicity: {action: flag, mode: shadow}, hate: {on_error: allow}}
output: {card: {action: redact}, harm: {action: flag}, toxicity: {action: flag, mode: shadow}, hate: {on_error: allow}}
"""
FAR = {"name": "far", "version": "1", "digest": "f" * 64, "most_chars": 8000, "languages": None}
FAR |= {"covers": {"input": ["hate"], "output": ["hate"]}}
ENOUGH = drift.FEWEST + 2


@dataclass
class Live:
    prometheus: Prometheus
    pages: list[dict] = field(default_factory=list)  # what Alertmanager sent
    guard_fails: bool = False


@asynccontextmanager
async def live(folder: Path) -> AsyncIterator[Live]:
    """Runs until the block ends, traffic too."""
    home = folder / "home"
    await reviewed(home)
    watched = Live(prometheus=None)  # type: ignore[arg-type]  # a moment later
    async with AsyncExitStack() as stack:
        far = stack.enter_context(far_end(_judging(watched)))
        settings = _installed(folder, far)
        engines = [await stack.enter_async_context(wire(ANSWER)) for _ in range(2)]
        settings |= {"engine_url": ",".join(engines), "registry_watch_s": "0.2"}
        _, url = await stack.enter_async_context(gateway(home, **settings))
        textfile = folder / "drift.prom"
        await asyncio.to_thread(_drift, url, folder, textfile)
        node = stack.enter_context(_textfile(textfile))
        pager = stack.enter_context(far_end(_paged(watched)))
        jobs = [
            job("sluicegate-gateway", url.removeprefix("http://"), f"{KEY}-admin", pod="sluicegate-gateway-0"),
            job("node", node.removeprefix("http://")),
        ]
        on_call = await stack.enter_async_context(alertmanager(folder, pager))
        watched.prometheus = await stack.enter_async_context(prometheus(folder, jobs, _rules(), on_call))
        session = await stack.enter_async_context(aiohttp.ClientSession(url, headers=ADMIN, raise_for_status=True))
        await _registered(session, home)
        async with _traffic(url):
            yield watched


async def reviewed(home: Path) -> None:
    """A history: what was flagged, and samples of what was not, decided by two people who agree."""
    ledger = SqlLedger(Settings(home=home))
    await ledger.start()
    for number in range(ENOUGH):
        exchange_id = new_id()
        sampled = number < LEAST_ITEMS
        asked, *rest = flagged(exchange_id) if number < 2 else clean(exchange_id, store="sampled", sampled=sampled)
        for event in (asked | {"sample_share": 0.5}, *rest):
            ledger.append(event)
    assert await ledger.drain(60)
    async with ledger.store.write() as connection:
        await connection.execute(sa.update(ReviewItem).values(reviews_wanted=2))
    async with ledger.store.read() as session:
        items = list(await session.execute(sa.select(ReviewItem.id, ReviewItem.why).order_by(ReviewItem.created_at)))
    for number, (item, why) in enumerate(items):
        said = {"input": "harmful", "action": "correct"} if why == "flagged" and number else {"input": "ok"}
        for name in ("ada", "bob"):
            held = await claim(ledger.store, item, Reviewer(name))
            await submit(ledger.store, held.token, Decision(name, **({"action": "over_block"} | said)))
    await ledger.stop()


def _installed(folder: Path, far: str) -> dict[str, str]:
    """Settings that name the policy, the guards and what they are made of."""
    for name in ("shipped", "strong"):
        guard_folder(folder / name, WORDS)
    (folder / "guards.yaml").write_text(GUARDS.replace("URL", far))
    (folder / "policy.yaml").write_text(POLICY)
    return {"policy": str(folder / "policy.yaml"), "guards": str(folder / "guards.yaml")}


def _rules() -> dict:
    """Those of the chart, as it renders them."""
    (found,) = (d for d in rendered("one-gpu") if d["kind"] == "PrometheusRule")
    return found["spec"]


def _drift(url: str, folder: Path, textfile: Path) -> None:
    """What `sluicegate-train drift` makes of the scores of this service."""
    at = ["--url", url, "--key", f"{KEY}-admin"]
    drift.main(["freeze", "--out", str(folder / "frozen.json"), *at])
    with suppress(SystemExit):
        drift.main(["check", "--reference", str(folder / "frozen.json"), "--textfile", str(textfile), *at])


async def _registered(session: aiohttp.ClientSession, home: Path) -> None:
    """A version of the default guard in shadow."""
    digest = guard_folder(home / "registry/models/default/1", WORDS)
    made = {"kind": "guard", "name": "default", "version": "1", "digest": digest, "folder": "models/default/1"}
    made |= {"gates": {"passed": True, "checks": []}}
    await session.post("/v1/learning/models", json=made)
    await session.post("/v1/learning/models/default/1/stage", json={"to": "shadow"})


@asynccontextmanager
async def _traffic(url: str) -> AsyncIterator[None]:
    async with aiohttp.ClientSession(url, headers=CLIENT) as session:
        asking = asyncio.create_task(_asking(session))
        try:
            yield
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


async def _asking(session: aiohttp.ClientSession) -> None:
    number = 0
    while True:
        number += 1
        text = "My key is AKIAIOSFODNN7EXAMPLQ." if number % 4 == 0 else f"Tell me of {number % 3} harsh redwood trees."
        body = {"model": "m", "stream": number % 2 == 0, "messages": [{"role": "user", "content": text}]}
        async with session.post("/v1/chat/completions", json=body) as response:
            await response.read()


def _judging(watched: Live):
    async def judge(request: web.Request) -> web.Response:
        passages = (await request.json())["passages"]
        if passages and watched.guard_fails:
            return web.Response(status=503)
        return web.json_response(FAR | {"results": [{"scores": {"hate": 0.0}} for _ in passages]})

    return judge


def _paged(watched: Live):
    async def page(request: web.Request) -> web.Response:
        watched.pages.append(json.loads(await request.read()))
        return web.Response()

    return page


@contextmanager
def _textfile(file: Path):
    """As node_exporter serves it."""
    text = file.read_text()

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=text)

    with far_end(metrics) as url:
        yield url
