"""Versions swapped and rolled back while streams run, through the real process: none mixed, none lost."""

import asyncio
import json
import signal
import time

import aiohttp

from bench import report
from service.ledger.models import VerdictRow
from tests.gateway import KEY, gateway, stored, streamed, wire
from tests.learning.conftest import PROVE, guard_folder

SWAPS = 100 if PROVE else 6
STREAMS = 16
PAUSE_S = 0.1
TEXT = "Some plain words and some more of them, to be read at leisure, then a redwood and that is all of it. " * 2
WORDS = {"0": "redwood", "1": "nothing", "2": "redwood"}  # what each version refuses in an answer
POLICY = """
name: swapping
version: 1
guards: [default]
deadline_s: 30
input: {toxicity: {action: flag}}
output: {harm: {action: refuse}}
"""
STEPS = (("1", "stage"), ("2", "stage"), ("1", "rollback"), ("0", "rollback"))  # the version in force after each


def installed(home) -> None:
    """The guard the gateway is started with, two versions in the registry, a policy, a guards file."""
    guard_folder(home / "shipped", {"harm": WORDS["0"], "toxicity": "write"}, "0")
    for version in ("1", "2"):
        guard_folder(home / "home/registry/models/default" / version, {"harm": WORDS[version], "toxicity": "write"})
    (home / "policy.yaml").write_text(POLICY)
    (home / "guards.yaml").write_text("guards: {default: {kind: classifier, folder: shipped}}\n")


class Operator:
    """An operator's calls, and the version that the gateway says judges."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url

    async def post(self, path, **body):
        """Again while the answer says so: SQLite has one writer, and the shipper may be it for long."""
        async with asyncio.timeout(120):
            while True:
                async with self._session.post(f"{self._url}/v1/learning/models{path}", json=body) as response:
                    if response.status != 503:
                        assert response.status in (200, 201), await response.text()
                        return
                await asyncio.sleep(0.2)

    async def version(self) -> str:
        async with self._session.get(f"{self._url}/v1/coverage") as response:
            return (await response.json())["guards"][0]["version"]

    async def step(self, version: str, how: str) -> None:
        if how == "stage":
            await self.post(f"/default/{version}/stage", to="enforced")
        else:
            await self.post("/default/rollback", reason="a test")
        async with asyncio.timeout(120):
            while await self.version() != version:
                await asyncio.sleep(0.02)


async def registered(operator: Operator, home) -> None:
    for version in ("1", "2"):
        manifest = json.loads((home / f"registry/models/default/{version}/guard.json").read_text())
        told = {"kind": "guard", "name": "default", "version": version, "gates": {"passed": True}}
        told |= {"digest": manifest["files"]["model.onnx"], "folder": f"models/default/{version}"}
        await operator.post("", **told)


async def test_versions_swap_and_roll_back_while_streams_run(tmp_path):
    """Each exchange is judged by one version to its end and its text is what that one makes of it; none is lost."""
    installed(tmp_path)
    home, answers, done, waits = tmp_path / "home", {}, asyncio.Event(), []

    async def stream(session: aiohttp.ClientSession, url: str) -> None:
        while not done.is_set():
            exchange, text, finish = await streamed(session, url, "write it")
            answers[exchange] = text, finish

    files = {"policy": str(tmp_path / "policy.yaml"), "guards": str(tmp_path / "guards.yaml")}
    limit = aiohttp.TCPConnector(limit=0)
    async with (
        wire(TEXT, cut=4, pause_s=0.005) as engine,
        gateway(home, engine_url=engine, registry_watch_s="0.05", **files) as (process, url),
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}-admin"}) as admin,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}, connector=limit) as session,
    ):
        operator = Operator(admin, url)
        await registered(operator, home)
        streams = [asyncio.create_task(stream(session, url)) for _ in range(STREAMS)]
        await asyncio.sleep(0.5)
        for number in range(SWAPS):
            began = time.monotonic()
            await operator.step(*STEPS[number % len(STEPS)])
            waits.append(time.monotonic() - began)
            await asyncio.sleep(PAUSE_S)
        done.set()
        await asyncio.gather(*streams)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0

    assert await mixtures(home, answers) == []
    if PROVE:
        figures = {"swaps": SWAPS, "streams": STREAMS, "exchanges": len(answers), "mixed": 0, "lost": 0}
        figures |= {"in_force_after_s": {"median": sorted(waits)[SWAPS // 2], "highest": max(waits)}}
        report.write("swap", "make prove (tests/learning/test_swap.py)", figures)


async def mixtures(home, answers) -> list[tuple[str, str, str, str]]:
    """Answers that are not what one version makes of the text; each version judged some."""
    exchanges, judged_by = await stored(home, VerdictRow.digest)
    assert exchanges.keys() == answers.keys()
    mixed, used = [], set()
    for exchange_id, (text, finish) in answers.items():
        scores = exchanges[exchange_id].scores["default"]
        version = scores["version"]
        used.add(version)
        refused = (finish, "redwood" in text) == ("content_filter", False)
        whole = (finish, text) == ("stop", TEXT)
        if judged_by[exchange_id] != {scores["digest"]} or not (refused if WORDS[version] in TEXT else whole):
            mixed.append((exchange_id, version, finish, text))
    assert used == {"0", "1", "2"}
    return mixed
