"""A real Prometheus, and a real Alertmanager behind it, on loopback."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from tests.deploy.chart import tool
from tests.far_end import free_port

EVERY = "500ms"
START_S = 120
PACKAGES = "sudo apt-get install -y prometheus prometheus-alertmanager"


def job(name: str, address: str, key: str | None = None, **labels: str) -> dict:
    """A scrape job as the chart's ServiceMonitor makes one: `address` is host:port."""
    one = {"job_name": name, "static_configs": [{"targets": [address], "labels": {"namespace": "prod"} | labels}]}
    return one | ({"authorization": {"credentials": key}} if key else {})


class Prometheus:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url

    async def query(self, promql: str) -> list[float]:
        """The value of each series that it finds now; those that are no number are left out."""
        async with self._session.post(f"{self._url}/api/v1/query", data={"query": promql}) as response:
            answer = await response.json()
        assert answer["status"] == "success", f"{promql}: {answer['error']}"
        values = [float(series["value"][1]) for series in answer["data"]["result"]]
        return [value for value in values if not math.isnan(value)]

    async def rules(self) -> list[dict]:
        async with self._session.get(f"{self._url}/api/v1/rules") as response:
            groups = (await response.json())["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@asynccontextmanager
async def prometheus(
    folder: Path, jobs: Sequence[Mapping], rules: Mapping | None = None, alertmanager: str | None = None
) -> AsyncIterator[Prometheus]:
    """Scrapes `jobs` and evaluates `rules` twice a second until the block ends. `alertmanager`: its URL."""
    config = {"global": {"scrape_interval": EVERY, "evaluation_interval": EVERY}, "scrape_configs": list(jobs)}
    if rules is not None:
        (folder / "rules.yaml").write_text(json.dumps(rules))
        config["rule_files"] = ["rules.yaml"]
    if alertmanager is not None:
        known = {"static_configs": [{"targets": [alertmanager.removeprefix("http://")]}]}
        config["alerting"] = {"alertmanagers": [known]}
    (folder / "prometheus.yaml").write_text(json.dumps(config))
    of = [f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/tsdb"]
    async with _running("prometheus", of, folder) as url, aiohttp.ClientSession() as session:
        yield Prometheus(session, url)


@asynccontextmanager
async def alertmanager(folder: Path, webhook: str) -> AsyncIterator[str]:
    """Sends every alert to `webhook` at once; yields its URL."""
    receiver = {"name": "pager", "webhook_configs": [{"url": webhook}]}
    route = {"receiver": "pager", "group_by": ["alertname"], "group_wait": "0s", "group_interval": "1s"}
    (folder / "alertmanager.yaml").write_text(json.dumps({"route": route, "receivers": [receiver]}))
    of = [f"--config.file={folder}/alertmanager.yaml", f"--storage.path={folder}/alerts", "--cluster.listen-address="]
    async with _running("prometheus-alertmanager", of, folder) as url:
        yield url


@asynccontextmanager
async def _running(name: str, arguments: Sequence[str], folder: Path) -> AsyncIterator[str]:
    """A server of the Prometheus family, ready; its URL. Killed at the end."""
    address, log = f"127.0.0.1:{free_port()}", folder / f"{name}.log"
    command = [tool(name, PACKAGES), f"--web.listen-address={address}", "--log.level=error", *arguments]
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=out)
    try:
        async with asyncio.timeout(START_S), aiohttp.ClientSession() as session:
            while not await _ready(session, f"http://{address}/-/ready"):
                if process.returncode is not None:
                    pytest.fail(log.read_text())
                await asyncio.sleep(0.1)
        yield f"http://{address}"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _ready(session: aiohttp.ClientSession, url: str) -> bool:
    with suppress(aiohttp.ClientError):
        async with session.get(url) as response:
            return response.status == 200
    return False
