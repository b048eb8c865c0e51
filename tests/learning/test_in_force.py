"""Versions of the registry in a running gate: taken, refused, swapped, in shadow; small real guards, a real ledger."""

import asyncio
import contextlib
import threading
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from guards.policy import Policies, Policy
from guards.registry import load
from guards.verdict import Passage
from service.gate.exchange import Asked, Caller, Refused
from service.gate.pipeline import Gate, answer
from service.judges import BatchedJudges
from service.learning.in_force import JudgesInForce
from service.learning.lineage import Candidate, add_model, model
from service.learning.report import report
from service.learning.shadow import Shadow
from service.learning.stages import move, rollback
from service.learning.standing import Watch, guard_of, standing
from service.ledger.ledger import SqlLedger, open_store
from service.ledger.lineage import BesideRow
from service.ledger.models import Exchange, VerdictRow
from service.policies import PoliciesInForce
from service.review.decisions import Decision, decide
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.fakes import ScriptedEngine, text_deltas
from tests.learning.conftest import guard_folder

RULES = {"harm": {}, "toxicity": {"action": "flag"}}
POLICY = {"name": "p", "version": 1, "guards": ["default"], "input": RULES, "output": RULES, "store": "flagged"}
WORDS = {"harm": "bomb", "toxicity": "dimwit"}
CALLER = Caller("key_client", "acme")


@dataclass
class Work:
    """A gate and everything that decides who judges in it."""

    gate: Gate
    judges: JudgesInForce
    watch: Watch
    ledger: SqlLedger
    registry: object

    @property
    def store(self):
        return self.ledger.store

    @property
    def version(self):
        return next(g.version for g in self.judges.guards() if g.name == "default")

    async def register(self, version, words=WORDS, to="", **options):
        digest = guard_folder(self.registry / "models/default" / version, words)
        told = {"digest": digest, "folder": f"models/default/{version}", "gates": {"passed": True}}
        await add_model(self.store, self.registry, Candidate("guard", "default", version, **told), "key_train")
        if to:
            await move(self.store, "default", version, to, "ada", **options)
            await self.watch.look()

    async def ask(self, text, reply="fine"):
        self.gate.engine.deltas = text_deltas(reply)

        body = {"model": "m", "messages": [{"role": "user", "content": text}]}
        asked = Asked("chat", body, (Passage(text),), lambda texts: body)
        with contextlib.suppress(Refused):
            async for _ in answer(self.gate, asked, CALLER):
                pass
        return asked.id

    def counted(self, name, **labels):
        return self.gate.metrics.registry.get_sample_value(f"sluicegate_{name}", labels)


@pytest.fixture
async def work(tmp_path):
    guard_folder(tmp_path / "shipped", WORDS, "0")
    shipped, policy = load("default", tmp_path / "shipped"), Policy.model_validate(POLICY)
    shipped.name = "default"
    metrics, registry = Metrics(), tmp_path / "registry"
    ledger = SqlLedger(Settings(home=tmp_path))
    await ledger.start()
    async with BatchedJudges([shipped], metrics) as first:
        policies = PoliciesInForce(Policies.only(policy), [shipped], metrics)
        judges = JudgesInForce(first, [shipped], policies, ledger, metrics, guard_of(registry, 1, 4096))
        gate = Gate(ScriptedEngine(), judges, ledger, lambda _: policy, metrics, beside=judges.beside)
        yield Work(gate, judges, Watch(ledger.store, tmp_path / "memory", metrics, judges.take), ledger, registry)
        await judges.stop()
    await ledger.stop()


async def test_a_version_takes_the_place_of_the_guard_and_gives_it_back(work):
    """Enforced it judges for everybody, rolled back the earlier guard does; metric and told say so each time."""
    assert work.version == "0"
    await work.register("1", WORDS | {"harm": "cake"}, "enforced")
    digest = (await model(work.store, "default", "1")).digest
    assert work.version == "1"
    assert work.counted("guard_stage", guard="default", version="1", digest=digest, stage="enforced") == 1
    await work.ask("a cake")
    await work.ask("a bomb")
    await rollback(work.store, "default", "ada", "refuses recipes")
    await work.watch.look()
    assert work.version == "0"
    assert work.judges.told() == []
    await work.ask("a cake")
    assert await work.ledger.drain(20)
    async with work.store.read() as session:
        outcomes = list(await session.scalars(sa.select(Exchange.outcome).order_by(Exchange.asked_at)))
    assert outcomes == ["refused_input", "completed", "completed"]


async def test_what_was_begun_keeps_its_judges(work):
    """An exchange that holds judges is judged by them though another version is in force; unused lanes end."""
    await work.register("1", WORDS | {"harm": "cake"}, "enforced")
    held = work.judges.of("exc_1", "key_client")
    await work.register("2", WORDS | {"harm": "pie"}, "enforced")
    assert [g.version for g in held.guards()] == ["1"]

    policy = Policy.model_validate(POLICY)
    (row,) = await held.judge([Passage("a cake")], policy, "acme")
    assert (row[0].version, row[0].scores.by_category["harm"] > 0.9) == ("1", True)
    assert lanes() >= 1
    del held
    async with asyncio.timeout(20):
        while lanes():
            await work.watch.look()
            await asyncio.sleep(0.02)
    assert work.version == "2"


def lanes():
    """Threads of lanes that have judged."""
    return sum(thread.name.startswith("guard-default") for thread in threading.enumerate())


@pytest.mark.parametrize("fault", ["weights", "digest", "gone", "coverage"])
async def test_what_is_not_what_was_registered_is_not_taken(work, fault):
    """Flipped weights, another guard in the folder, no folder, a rule nobody would judge: what is in force stays."""
    await work.register("1", WORDS, "enforced")
    await work.register("2", WORDS | {"harm": "cake"} if fault != "coverage" else {"harm": "cake"})
    folder = work.registry / "models/default/2"
    if fault == "weights":
        body = bytearray((folder / "model.onnx").read_bytes())
        body[len(body) // 2] ^= 1
        (folder / "model.onnx").write_bytes(body)
    elif fault == "digest":
        guard_folder(folder, WORDS | {"harm": "pie"})
    elif fault == "gone":
        folder.rename(folder.with_name("moved"))
    await move(work.store, "default", "2", "enforced", "ada")
    await work.watch.look()
    assert work.version == "1"
    assert work.counted("guard_swaps_total", guard="default", outcome="rejected") == 1
    await work.watch.look()  # not tried again at once
    assert work.counted("guard_swaps_total", guard="default", outcome="rejected") == 1
    await work.ask("a bomb")
    labels = {"guard": "default", "version": "1", "stage": "input", "category": "harm"}
    assert work.counted("verdicts_total", **labels, action="refuse", mode="enforce") == 1


async def test_a_database_that_is_away_changes_nothing(work, tmp_path):
    """What is in force stays, and a gateway that starts meanwhile takes what the database said last."""
    await work.register("1", WORDS, "enforced")
    away = open_store(Settings(home=tmp_path, database_url="postgresql+asyncpg://nobody@127.0.0.1:1/none"))
    metrics, taken = work.gate.metrics, []

    async def take(found):
        taken.append(found)

    watch = Watch(away, tmp_path / "memory", metrics, work.judges.take, take)
    await watch.look()
    await watch.look()
    assert work.version == "1"
    assert taken == [await standing(work.store)] * 2
    assert work.counted("registry_up") == 0
    await work.watch.look()
    assert work.counted("registry_up") == 1
    await away.close()


async def test_a_canary_is_for_a_share_and_for_keys(work):
    """The same exchanges whenever they are asked about, about as many as the share says; all of the keys named."""
    await work.register("1", WORDS, "canary", share=0.25, keys=("key_client",))

    def canary(number, key):
        return work.judges.of(f"exc_{number}", key).guards()[0].version == "1"

    chosen = [canary(n, "key_other") for n in range(2000)]
    assert chosen == [canary(n, "key_other") for n in range(2000)]
    assert 400 < sum(chosen) < 600
    assert all(canary(n, "key_client") for n in range(50))
    assert work.version == "0"


async def test_a_shadow_looks_at_what_has_ended_and_its_report_adds_up(work):
    """Its verdicts are recorded as of mode shadow, nothing is refused for it, and the report counts both and people."""
    await work.register("1", WORDS | {"harm": "cake"}, "shadow")
    ids = [await work.ask(text) for text in ("a bomb", "a cake", "a cake", "a walk")]
    async with asyncio.timeout(20):
        while (work.counted("guard_beside_total", guard="default", version="1", outcome="judged") or 0) < 4:
            await asyncio.sleep(0.02)
    assert await work.ledger.drain(20)
    async with work.store.read() as session:
        outcomes = {e.id: (e.outcome, e.flagged) for e in await session.scalars(sa.select(Exchange))}
        modes = {(v.exchange_id, v.mode, v.version) for v in await session.scalars(sa.select(VerdictRow))}
        assert await session.scalar(sa.select(sa.func.count()).select_from(BesideRow)) == 4
    assert [outcomes[i] for i in ids] == [("refused_input", True)] + [("completed", False)] * 3
    assert modes == {(ids[0], "enforce", "0"), (ids[1], "shadow", "1"), (ids[2], "shadow", "1")}
    await decide(work.store, ids[0], Decision("ada", input="harmful", categories=("harm",)))
    found = await report(work.store, await model(work.store, "default", "1"))
    harm = next(c for c in found.categories if (c.stage, c.category) == ("input", "harm"))
    assert (harm.judged, harm.agreed, harm.only_enforced, harm.only_shadow) == (4, 1, 1, 2)
    assert (harm.human.decided, harm.human.harmful, harm.human.enforced, harm.human.shadow) == (1, 1, 1, 0)
    assert harm.agreement.low < 0.25 < harm.agreement.high


async def test_a_shadow_drops_what_it_has_no_time_for(work, tmp_path):
    """Exchanges beyond its queue are counted as dropped; none of them waits."""
    guard_folder(tmp_path / "busy", WORDS, "7")
    shadow = Shadow(lambda: load("default", tmp_path / "busy"), work.ledger, work.gate.metrics, waiting=0)
    await shadow.start()
    shadow.guard.name = "default"
    work.gate.beside = shadow.offer
    await work.ask("a walk")
    await shadow.stop()
    assert work.counted("guard_beside_total", guard="default", version="7", outcome="dropped") == 1
