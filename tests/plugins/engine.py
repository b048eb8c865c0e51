"""The real vLLM with the real small model, started once for the whole run.

A developer who keeps one running sets SLUICEGATE_TEST_ENGINE_URL and SLUICEGATE_TEST_ENGINE_KEY.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import aiohttp
import pytest

from service.engine.client import VllmClient
from service.engine.install import engine_python
from service.engine.launcher import EngineProcess
from service.engine.model import Model, bring
from service.settings import SMALL_MODEL, Settings


@dataclass(frozen=True)
class RunningEngine:
    url: str
    key: str
    model: str

    async def running(self) -> float:
        """Requests in vLLM's running batch, by its own metric."""
        async with aiohttp.ClientSession() as session, session.get(self.url + "/metrics") as response:
            lines = (await response.text()).splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("vllm:num_requests_running{"))

    async def read(self, messages: list[dict[str, object]], **more: object) -> str:
        """What the model is given to read for a chat: the chat template, rendered by vLLM."""
        headers = {"Authorization": f"Bearer {self.key}"}
        body = {"model": self.model, "messages": messages, "add_generation_prompt": True} | more
        async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as session:
            async with session.post(self.url + "/tokenize", json=body) as response:
                tokens = (await response.json())["tokens"]
            async with session.post(self.url + "/detokenize", json={"model": self.model, "tokens": tokens}) as response:
                return str((await response.json())["prompt"])


@pytest.fixture(scope="session")
def small_model() -> Model:
    settings = Settings()
    return bring(SMALL_MODEL, settings.home, engine_python(settings.engine_env), print)


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    if url := os.environ.get("SLUICEGATE_TEST_ENGINE_URL"):
        yield RunningEngine(url, os.environ.get("SLUICEGATE_TEST_ENGINE_KEY", ""), SMALL_MODEL)
        return
    model = request.getfixturevalue("small_model")
    process = EngineProcess(Settings().engine_env, model, tmp_path_factory.mktemp("engine"))
    # a loop of its own: the supervisor outlives the loop of any single test
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def up() -> None:
        await process.start()
        await process.wait_ready(800)

    try:
        asyncio.run_coroutine_threadsafe(up(), loop).result()
        yield RunningEngine(process.url, process.key, model.name)
    finally:
        asyncio.run_coroutine_threadsafe(process.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
async def vllm(engine: RunningEngine) -> AsyncIterator[VllmClient]:
    client = VllmClient(engine.url, engine.key)
    yield client
    await client.close()
