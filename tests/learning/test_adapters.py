"""Adapters of the model: loaded into engines at run time over real HTTP, for a canary's keys, dropped afterwards."""

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from guards.verdict import Passage
from service.engine.client import VllmClient
from service.engine.pool import opened
from service.gate.exchange import Asked, Caller, EngineUnavailable
from service.learning.adapters import AdaptersInForce
from service.learning.lineage import Candidate, add_model, model
from service.learning.stages import move, rollback
from service.learning.standing import standing
from service.learning.weights import identity
from service.telemetry.metrics import Metrics

ONE, OTHER = Caller("key_client", "acme"), Caller("key_other", "acme")


@dataclass
class FarEnd:
    """What vLLM has of adapters: its routes, and how often each was asked."""

    url: str = ""
    loaded: dict = field(default_factory=dict)
    asked: Counter = field(default_factory=Counter)
    refuses: bool = False

    async def models(self, _):
        data = [{"id": "small", "parent": None}, *({"id": n, "parent": "small"} for n in self.loaded)]
        return web.json_response({"object": "list", "data": data})

    async def load(self, request):
        body = await request.json()
        self.asked["load"] += 1
        if self.refuses:
            return web.json_response({}, status=400)
        self.loaded[body["lora_name"]] = body["lora_path"]
        return web.Response(text="Success")

    async def unload(self, request):
        self.asked["unload"] += 1
        del self.loaded[(await request.json())["lora_name"]]
        return web.Response(text="Success")

    async def healthy(self, _):
        return web.Response()


@asynccontextmanager
async def far_end():
    end, app = FarEnd(), web.Application()
    app.router.add_get("/v1/models", end.models)
    app.router.add_get("/health", end.healthy)
    app.router.add_post("/v1/load_lora_adapter", end.load)
    app.router.add_post("/v1/unload_lora_adapter", end.unload)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    end.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield end
    finally:
        await runner.cleanup()


async def register(store, home, version, to, **options):
    folder = home / "registry/models/kind" / version
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"r": 8}')
    (folder / "adapter_model.safetensors").write_bytes(version.encode())
    told = {"digest": identity("adapter", folder)[1], "folder": f"models/kind/{version}", "gates": {"passed": True}}
    await add_model(store, home / "registry", Candidate("adapter", "kind", version, **told), "key_train")
    await move(store, "kind", version, to, "ada", **options)
    return folder


def asked(model="small", endpoint="chat"):
    return Asked(endpoint, {"model": model}, (Passage("hi"),), lambda texts: {"model": model, "texts": texts})


async def test_a_canary_of_an_adapter_answers_its_keys_alone(local, tmp_path):
    """Requests of these keys for the model go to the adapter, others do not; rolled back, it is dropped later."""
    async with far_end() as end, opened(end.url, VllmClient, Metrics()) as engine:
        used = AdaptersInForce(engine, tmp_path / "registry", Metrics(), kept_s=0)
        await used.take(await standing(local))
        assert end.asked == {}
        await register(local, tmp_path, "1", "canary", keys=("key_client",))
        await used.take(await standing(local))
        assert list(end.loaded) == ["kind@1"]
        mine = used(asked(), ONE)
        assert mine.body["model"] == "kind@1"
        assert mine.rewrite(["x"]) == {"model": "kind@1", "texts": ["x"]}
        assert [used(a, c).body["model"] for a, c in ((asked(), OTHER), (asked("else"), ONE))] == ["small", "else"]
        assert used(asked(endpoint="embeddings"), ONE).body["model"] == "small"
        assert used.told()[0]["stage"] == "canary"
        await move(local, "kind", "1", "enforced", "ada")
        await used.take(await standing(local))
        assert used(asked(), OTHER).body["model"] == "kind@1"
        await rollback(local, "kind", "ada", "rude")
        await used.take(await standing(local))
        assert used(asked(), ONE).body["model"] == "small"
        await used.take(await standing(local))
        assert end.loaded == {}
        assert end.asked == {"load": 1, "unload": 1}


async def test_every_engine_of_a_pool_has_it_or_nobody_is_sent_there(local, tmp_path):
    """An adapter answers once all engines that answer have loaded it; one that lost it has it loaded again."""
    async with far_end() as one, far_end() as two:
        metrics = Metrics()
        async with opened(f"{one.url},{two.url}", VllmClient, metrics) as engine:
            used = AdaptersInForce(engine, tmp_path / "registry", metrics)
            await register(local, tmp_path, "1", "enforced")
            two.refuses = True
            await used.take(await standing(local))
            assert used(asked(), ONE).body["model"] == "small"
            two.refuses = False
            await used.take(await standing(local))
            assert used(asked(), ONE).body["model"] == "kind@1"
            one.loaded.clear()  # it was started again
            await used.take(await standing(local))
            assert list(one.loaded) == ["kind@1"]


async def test_an_adapter_with_other_weights_answers_nobody(local, tmp_path):
    """Weights that are not those registered are not given to an engine; an engine that is away changes nothing."""
    async with far_end() as end:
        client, metrics = VllmClient(end.url), Metrics()
        used = AdaptersInForce(client, tmp_path / "registry", metrics)
        folder = await register(local, tmp_path, "1", "enforced")
        (folder / "adapter_model.safetensors").write_bytes(b"others")
        await used.take(await standing(local))
        assert (used(asked(), ONE).body["model"], end.loaded) == ("small", {})
        assert metrics.registry.get_sample_value(
            "sluicegate_guard_swaps_total", {"guard": "kind", "outcome": "rejected"}
        )
        await client.close()
    (folder / "adapter_model.safetensors").write_bytes(b"1")
    away = VllmClient("http://127.0.0.1:1")
    with pytest.raises(EngineUnavailable):
        await AdaptersInForce(away, tmp_path / "registry", metrics).take(await standing(local))
    await away.close()
    assert (await model(local, "kind", "1")).stage == "enforced"
