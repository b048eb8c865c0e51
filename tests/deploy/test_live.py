"""Dashboards and alerts on a running service that a real Prometheus watches, and the whole way of an alert."""

import asyncio
import contextlib

import pytest
import pytest_asyncio

from tests.deploy.chart import METRIC, ROOT, RULES, filled, queries, tool
from tests.deploy.live import live
from tests.deploy.prometheus import PACKAGES, job, prometheus

PATIENCE_S = 240
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(tmp_path_factory):
    for name in ("helm", "prometheus", "prometheus-alertmanager"):
        tool(name, PACKAGES)
    async with live(tmp_path_factory.mktemp("live")) as running:
        yield running


async def unanswered(prometheus, asked):
    """Those of `asked` ((where, PromQL)) that still find nothing when patience ends."""
    left = dict(asked)
    assert left
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while left:
                left = {where: promql for where, promql in left.items() if not await prometheus.query(promql)}
                await asyncio.sleep(0.2)
    return left


def panels(of_vllm):
    """(where and number, PromQL) of panels that speak of vLLM's metrics, or of the others."""
    for number, (where, query) in enumerate(queries()):
        if ("vllm:" in query) is of_vllm:
            yield f"{where} ({number})", filled(query)


async def test_every_panel_has_data(watched):
    """Each query of each dashboard, those of vLLM excepted, finds a number."""
    assert await unanswered(watched.prometheus, panels(of_vllm=False)) == {}


async def test_every_alert_looks_at_series_that_there_are(watched):
    """Prometheus evaluates each rule of the chart without a fault, and all series of ours that it names exist."""
    named = {metric for rule in await watched.prometheus.rules() for metric in METRIC.findall(rule["query"])}
    used = {metric for metric in named if not metric.startswith("vllm:")}
    assert await unanswered(watched.prometheus, ((metric, metric) for metric in used)) == {}
    rules = await watched.prometheus.rules()
    assert {rule["name"]: rule["lastError"] for rule in rules if rule.get("lastError")} == {}
    assert {rule["health"] for rule in rules} == {"ok"}


async def test_an_alert_goes_all_the_way(watched):
    """A guard fails open: it is counted, scraped, the chart's rule fires, and Alertmanager calls the pager."""
    assert watched.pages == []
    watched.guard_fails = True
    async with asyncio.timeout(PATIENCE_S):
        while not (pages := [p for p in watched.pages if p["groupLabels"]["alertname"] == "SluicegateFailOpen"]):
            await asyncio.sleep(0.1)
    page = pages[0]
    assert page["status"] == "firing"
    (alert,) = page["alerts"]
    assert alert["labels"]["severity"] == "page"
    assert alert["labels"]["namespace"] == "prod"
    assert (ROOT / alert["annotations"]["runbook"]).is_file()
    assert "$value" not in alert["annotations"]["description"]


@pytest.mark.engine
async def test_every_panel_of_vllm_has_data(engine, tmp_path):
    """Panels, and series that alerts name, are found in what the real vLLM says of itself while it is asked."""
    import openai

    scraped = [job("sluicegate-engine", engine.url.removeprefix("http://"), pod="sluicegate-engine-0")]
    async with (
        prometheus(tmp_path, scraped) as watching,
        openai.AsyncOpenAI(base_url=f"{engine.url}/v1", api_key=engine.key) as client,
    ):

        async def ask():
            while True:
                said = [{"role": "user", "content": "Count to ten."}]
                await client.chat.completions.create(model=engine.model, messages=said, max_tokens=8)

        asking = asyncio.create_task(ask())
        try:
            named = {metric for rule in RULES for metric in METRIC.findall(rule["expr"]) if "vllm:" in metric}
            assert await unanswered(watching, [*panels(of_vllm=True), *((metric, metric) for metric in named)]) == {}
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
