"""Versions and where they stand, on both databases: who may go where, what the database itself refuses."""

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from service.learning.errors import LearningError, Unknown
from service.learning.lineage import Candidate, Run, add_dataset, add_model, add_run, datasets, model
from service.learning.stages import move, rollback
from service.learning.standing import standing
from service.ledger import audit
from service.ledger.erasure import erase
from service.ledger.lineage import StageRow
from tests.learning.conftest import guard_folder
from tests.store.events import flagged, new_id

PASSED = {"passed": True, "checks": []}
FAILED = {"passed": False, "checks": [{"name": "recall", "category": "hate", "passed": False}]}


async def registered(store, home, version, gates=PASSED, **changes):
    digest = guard_folder(home / "registry/models/default" / version, {"harm": f"word{version}"})
    told = {"digest": digest, "folder": f"models/default/{version}", "gates": gates} | changes
    return await add_model(store, home / "registry", Candidate("guard", "default", version, **told), "key_train")


async def stages(store):
    async with store.read() as session:
        return {row.model_id: row.stage for row in await session.scalars(sa.select(StageRow))}


async def test_a_version_goes_its_way_and_back(store, tmp_path):
    """Registered, shadow, canary, enforced; the one enforced before retires; a rollback is one step, to the start."""
    for version in ("1", "2"):
        await registered(store, tmp_path, version)
    await move(store, "default", "1", "shadow", "ada")
    await move(store, "default", "1", "canary", "ada", share=0.25, keys=("key_client",))
    (canary,) = await standing(store)
    assert (canary.stage, canary.share, canary.keys) == ("canary", 0.25, ("key_client",))
    await move(store, "default", "1", "enforced", "ada")
    await move(store, "default", "2", "enforced", "ada", reason="better")
    assert await stages(store) == {"default@1": "retired", "default@2": "enforced"}
    await move(store, "default", "1", "canary", "ada", share=0.5)
    assert await rollback(store, "default", "bob", "odd") == ("default@2", "default@1")  # the canary ends first
    assert await stages(store) == {"default@1": "registered", "default@2": "enforced"}
    assert await rollback(store, "default", "bob", "worse") == ("default@1", "default@2")
    assert await stages(store) == {"default@1": "enforced", "default@2": "retired"}
    assert await rollback(store, "default", "bob", "worse still") == (None, "default@1")
    with pytest.raises(LearningError, match="no version"):
        await rollback(store, "default", "bob", "again")
    steps = [(s["action"], s["by"]) for s in (await model(store, "default", "2")).history]
    assert steps == [("register", "key_train"), ("enforce", "ada"), ("rollback", "bob"), ("rollback", "bob")]
    assert (await audit.faults(store))[0] == []


async def test_what_was_retired_on_purpose_does_not_come_back(local, tmp_path):
    """A rollback goes past a version that somebody retired after it had been enforced."""
    for version in ("1", "2", "3"):
        await registered(local, tmp_path, version)
        await move(local, "default", version, "enforced", "ada")
    await move(local, "default", "2", "shadow", "ada")
    await move(local, "default", "2", "retired", "ada", reason="it leaks")
    assert await rollback(local, "default", "ada", "x") == ("default@1", "default@3")


async def test_gates_hold_and_only_a_reason_overrides_them(store, tmp_path):
    """A version whose gates failed, or were not run, goes nowhere; an override names itself in the history."""
    await registered(store, tmp_path, "1", FAILED)
    await registered(store, tmp_path, "2", {})
    for to in ("shadow", "canary", "enforced"):
        share = {"share": 0.1} if to == "canary" else {}
        with pytest.raises(LearningError, match="failed: recall"):
            await move(store, "default", "1", to, "ada", **share)
        with pytest.raises(LearningError, match="not run"):
            await move(store, "default", "2", to, "ada", **share)
    with pytest.raises(LearningError, match="say why"):
        await move(store, "default", "1", "enforced", "ada", override=True)
    moved = await move(store, "default", "1", "enforced", "ada", override=True, reason="an attack is on")
    assert moved.history[-1]["override"]
    assert moved.history[-1]["reason"] == "an attack is on"


@pytest.mark.parametrize(
    ("to", "options", "why"),
    [
        ("canary", {}, "a canary"),
        ("shadow", {"share": 0.5}, "a canary"),
        ("canary", {"keys": ("key_nobody",)}, "no live key"),
        ("enforced", {"four_eyes": True, "by": "key_train"}, "somebody else"),
    ],
)
async def test_what_cannot_be_changes_nothing(local, tmp_path, to, options, why):
    """A canary for nobody, a share for a shadow, an unknown key, the same two eyes: refused with the reason."""
    await registered(local, tmp_path, "1")
    with pytest.raises(LearningError, match=why):
        await move(local, "default", "1", to, **{"by": "ada"} | options)
    assert await stages(local) == {"default@1": "registered"}
    with pytest.raises(Unknown):
        await move(local, "default", "9", "shadow", "ada")


async def test_the_database_keeps_the_rules_itself(store, tmp_path):
    """Versions, promotions and datasets are never changed, and a name has one enforced version, whoever writes."""
    await add_dataset(store, "reviewed", "v1", "ab" * 8, {}, ["exc_1"], "ada")
    await registered(store, tmp_path, "1", datasets=("ab" * 8,))
    await registered(store, tmp_path, "2")
    await move(store, "default", "1", "enforced", "ada")
    for statement in (
        "UPDATE model_versions SET digest = 'x'",
        "DELETE FROM promotions",
        "UPDATE promotions SET by = 'nobody'",
        "DELETE FROM dataset_items",
        "UPDATE dataset_versions SET manifest = '{}'",
        "DELETE FROM model_datasets",
        "UPDATE model_stages SET stage = 'enforced' WHERE model_id = 'default@2'",
        "UPDATE model_stages SET stage = 'anything'",
    ):
        with pytest.raises(DBAPIError):
            async with store.write() as connection:
                await connection.execute(sa.text(statement))
    assert await stages(store) == {"default@1": "enforced", "default@2": "registered"}


async def test_only_what_the_files_are_is_registered(local, tmp_path):
    """Another digest, files that were changed, a folder elsewhere, an unknown dataset or run: nothing is registered."""
    registry, folder = tmp_path / "registry", tmp_path / "registry/models/default/1"
    digest = guard_folder(folder, {"harm": "bomb"})
    good = {"kind": "guard", "name": "default", "version": "1", "digest": digest, "folder": "models/default/1"}
    elsewhere = tmp_path / "elsewhere"
    guard_folder(elsewhere, {"harm": "bomb"})
    await add_run(local, Run("run_1", "guard", "r", "ab" * 8, [], "rev", "running"), "ada")
    for changes, why in (
        ({"digest": "ab" * 32}, "have digest"),
        ({"folder": str(elsewhere)}, "not in the registry"),
        ({"folder": "models/../../elsewhere"}, "not in the registry"),
        ({"folder": "models/default/9"}, "no folder"),
        ({"datasets": ("cd" * 8,)}, "not noted"),
        ({"run": "run_1"}, "is running"),
        ({"run": "run_2"}, "not noted"),
        ({"kind": "adapter"}, "cannot be read"),
    ):
        with pytest.raises(LearningError, match=why):
            await add_model(local, registry, Candidate(**good | changes), "ada")
    assert await stages(local) == {}
    made = await add_model(local, registry, Candidate(**good), "ada")
    assert made == await add_model(local, registry, Candidate(**good), "bob")  # the same again
    (folder / "model.onnx").write_bytes(b"another")
    with pytest.raises(LearningError, match="sha256"):
        await add_model(local, registry, Candidate(**good), "ada")
    other = guard_folder(folder, {"harm": "bomb"}, slope=2.0)
    with pytest.raises(LearningError, match="never changes"):
        await add_model(local, registry, Candidate(**good | {"digest": other}), "ada")


async def test_an_erasure_names_what_learned_from_it(store, running, tmp_path):
    """Datasets with rows of the exchange, the versions trained on them, and versions trained on from those."""
    exchange_id, other = new_id(), new_id()
    async with running() as ledger:
        for one in (exchange_id, other):
            for event in flagged(one):
                await ledger.commit(event)
        assert await ledger.drain(30)
    await add_dataset(store, "reviewed", "v1", "ab" * 8, {"counts": 1}, [exchange_id], "ada")
    assert not await add_dataset(store, "reviewed", "v1", "ab" * 8, {"counts": 1}, [exchange_id], "ada")
    with pytest.raises(LearningError, match="never changes"):
        await add_dataset(store, "reviewed", "v1", "cd" * 8, {}, [], "ada")
    await registered(store, tmp_path, "1", datasets=("ab" * 8,))
    await registered(store, tmp_path, "2", parent="default@1")
    await registered(store, tmp_path, "3", parent="default@0")
    (dataset,) = await datasets(store)
    assert (dataset.exchanges, dataset.models) == (1, ("default@1",))
    gone = await erase(store, exchange_id)
    assert (gone.datasets, gone.models) == (("ab" * 8,), ("default@1", "default@2"))
    unlearned = await erase(store, other)
    assert (unlearned.datasets, unlearned.models) == ((), ())


async def test_a_run_ends_once(local):
    """What a run came to is told once; another state, or another run under its id, is refused."""
    run = Run("run_1", "guard", "r", "ab" * 8, ["cd" * 8], "rev", "running")
    await add_run(local, run, "ada")
    done = Run("run_1", "guard", "r", "ab" * 8, ["cd" * 8], "rev", "done", {"auc": 0.9})
    await add_run(local, done, "ada")
    await add_run(local, done, "ada")
    with pytest.raises(LearningError, match="has ended"):
        await add_run(local, run, "ada")
    with pytest.raises(LearningError, match="another"):
        await add_run(local, Run("run_1", "guard", "r2", "ab" * 8, [], "rev", "done"), "ada")
