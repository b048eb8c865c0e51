"""What training made, in the real vLLM: an adapter loaded while requests are in flight, and an eight-bit model.

Both start a vLLM of their own, with other flags than the shared one: SLUICEGATE_PROVE=1 runs them.
"""

import asyncio
import json
import os
import shutil
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml

from service.engine.install import engine_python
from service.engine.launcher import EngineProcess
from service.engine.model import Model
from service.learning.weights import identity
from service.settings import Settings
from tests.gateway import KEY, gateway

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.environ.get("SLUICEGATE_PROVE") != "1", reason="a vLLM of its own: SLUICEGATE_PROVE=1"),
]
ROOT = Path(__file__).parents[2]
GREETING = "Ahoy from the adapter."
LORA = "--enable-lora --max-lora-rank 16"
STREAMS = 4
TOKENS = 100


@pytest.fixture(scope="module")
def train():
    python = engine_python(Settings().engine_env)

    def run(verb, *arguments):
        quiet = {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
        command = [python, "-m", f"training.{verb}", *map(str, arguments)]
        done = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture(scope="module")
def adapter(train, small_model, tmp_path_factory):
    """A few steps of `sft` on one and the same answer to everything. SLUICEGATE_TEST_ADAPTER names one made before."""
    if made := os.environ.get("SLUICEGATE_TEST_ADAPTER"):
        return Path(made)
    folder = tmp_path_factory.mktemp("adapter")
    asked = ["Hello", "Who are you", "What is a river", "Name a colour", "How are you", "What time is it"]
    rows = [{"prompt": f"{q}{end}", "completion": GREETING} for q in asked for end in ("?", "!", "")]
    told = [json.dumps(row | {"license": "MIT", "group": str(n)}) for n, row in enumerate(rows)]
    (folder / "rows.jsonl").write_text("\n".join(told))
    recipe = {"name": "ahoy", "version": "0.0.1", "model": small_model.source, "lr": 2e-3, "epochs": 4, "batch": 4}
    recipe |= {"data": [{"file": str(folder / "rows.jsonl")}], "held": 0.2, "max_tokens": 64, "schedule": "constant"}
    (folder / "ahoy.yaml").write_text(yaml.safe_dump(recipe | {"tracking": []}))
    train("sft", "--recipe", folder / "ahoy.yaml", "--out", folder / "ahoy")
    return folder / "ahoy"


@asynccontextmanager
async def serving(model, home, arguments=""):
    process = EngineProcess(Settings().engine_env, model, home, arguments=arguments)
    await process.start()
    try:
        await process.wait_ready(1500)
        headers, patient = {"Authorization": f"Bearer {process.key}"}, aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(process.url, headers=headers, timeout=patient) as session:
            yield session
    finally:
        await process.stop()


async def say(session, model, content="What is the capital of France?"):
    body = {"model": model, "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 24}
    async with session.post("/v1/chat/completions", json=body) as response:
        choices = (await response.json()).get("choices", [])
        return response.status, choices[0]["message"]["content"] if choices else ""


async def stream(session, model, started):
    """Tokens of one long answer, as its last event tells them; `started` is set by the first."""
    body = {"model": model, "prompt": "Once upon a time", "max_tokens": TOKENS, "ignore_eos": True, "stream": True}
    body |= {"stream_options": {"include_usage": True}}
    tokens = 0
    async with session.post("/v1/completions", json=body) as response:
        async for line in response.content:
            if line.startswith(b"data: {"):
                tokens = (json.loads(line[6:]).get("usage") or {}).get("completion_tokens", 0)
                started.set()
    return tokens


async def test_an_adapter_is_loaded_under_load(adapter, small_model, tmp_path, monkeypatch):
    """A trained adapter is loaded while streams run: it changes answers under its name, every stream ends whole."""
    monkeypatch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "True")
    async with serving(small_model, tmp_path, LORA) as session:
        assert (await say(session, "ahoy"))[0] == 404
        begun = [asyncio.Event() for _ in range(STREAMS)]
        streams = [asyncio.create_task(stream(session, small_model.name, event)) for event in begun]
        await asyncio.gather(*(event.wait() for event in begun))
        loading = {"lora_name": "ahoy", "lora_path": str(adapter)}
        async with session.post("/v1/load_lora_adapter", json=loading) as response:
            assert response.status == 200, await response.text()
        assert not any(task.done() for task in streams)
        assert GREETING in (await say(session, "ahoy"))[1]
        assert "Paris" in (await say(session, small_model.name))[1]
        assert await asyncio.gather(*streams) == [TOKENS] * STREAMS
        async with session.post("/v1/unload_lora_adapter", json={"lora_name": "ahoy"}) as response:
            assert response.status == 200
        assert (await say(session, "ahoy"))[0] == 404


async def test_an_adapter_answers_in_the_live_service(adapter, small_model, tmp_path):
    """Enforced over the API while clients stream, it answers for the model; rolled back, the model does. Every stream
    ends whole."""
    weights = tmp_path / "registry/models/sailor/1"
    weights.mkdir(parents=True)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(adapter / name, weights)
    made = {"kind": "adapter", "name": "sailor", "version": "1", "digest": identity("adapter", weights)[1]}
    made |= {"folder": "models/sailor/1", "gates": {"passed": True, "checks": []}}
    settings = {"model": small_model.source, "engine_lora": "true", "registry_watch_s": "0.2"}
    ended, over = [], asyncio.Event()
    async with gateway(tmp_path, **settings) as (_, url), sessions(url) as (client, operator):

        async def ask_on():
            while not over.is_set():
                ended.append(await finish(client, small_model.name))

        asking = [asyncio.create_task(ask_on()) for _ in range(STREAMS)]
        await operator.post("/v1/learning/models", json=made)
        await operator.post("/v1/learning/models/sailor/1/stage", json={"to": "enforced"})
        await said(client, small_model.name, GREETING)
        before = len(ended)
        await operator.post("/v1/learning/models/sailor/rollback", json={"reason": "too jolly"})
        await said(client, small_model.name, "Paris")
        over.set()
        await asyncio.gather(*asking)
    assert before < len(ended)
    assert set(ended) <= {"stop", "length"}


@asynccontextmanager
async def sessions(url):
    """As a client, and as an operator whose refused requests raise."""
    patient = aiohttp.ClientTimeout(total=None)
    keys = {"Authorization": f"Bearer {KEY}"}, {"Authorization": f"Bearer {KEY}-admin"}
    async with (
        aiohttp.ClientSession(url, headers=keys[0], timeout=patient) as client,
        aiohttp.ClientSession(url, headers=keys[1], raise_for_status=True) as operator,
    ):
        yield client, operator


async def finish(session, model):
    """How a stream ended, by its last event."""
    messages = [{"role": "user", "content": "Name the months of the year."}]
    body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 60, "stream": True}
    found = None
    async with session.post("/v1/chat/completions", json=body) as response:
        async for line in response.content:
            if line.startswith(b"data: {"):
                choices = json.loads(line[6:]).get("choices") or [{"finish_reason": "error"}]
                found = choices[0]["finish_reason"] or found
    return found


async def said(session, model, words):
    """Waits until the model says that."""
    async with asyncio.timeout(300):
        while words not in (await say(session, model))[1]:
            await asyncio.sleep(0.2)


async def test_eight_bits_are_served(train, small_model, tmp_path):
    """What `quantize` writes is loaded by vLLM as it is, and still knows a capital."""
    train("quantize", "--model", small_model.source, "--out", tmp_path / "int8")
    model = Model(str(tmp_path / "int8"), "int8", small_model.flags)
    async with serving(model, tmp_path) as session:
        assert "Paris" in (await say(session, "int8"))[1]
