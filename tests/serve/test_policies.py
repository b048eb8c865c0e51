"""The policy file while it is watched: what is taken, what is not, and what stays in force meanwhile."""

import asyncio
import os
from datetime import UTC, datetime

import pytest

from guards.patterns import PatternGuard
from guards.policy import parse_file
from service.app import StartError, checked
from service.gate.exchange import Caller
from service.policies import PoliciesInForce
from service.settings import Settings
from service.telemetry.metrics import Metrics

TEXT = "name: p\nversion: 1\nguards: [patterns]\noutput: {card: {action: redact}}\nstore: metadata\n"
CALLER = Caller("key_1", "acme")


def version(number: int) -> str:
    return TEXT.replace("version: 1", f"version: {number}")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def policies(path):
    return PoliciesInForce(parse_file(TEXT), [PatternGuard()], Metrics(), path)


async def looked(policies, path):
    """Two looks, as the watch takes them."""
    await policies.look(path)
    await policies.look(path)


def counted(policies, outcome):
    return policies._metrics.policy_reloads.labels(outcome)._value.get()


def shown(policies):
    text = policies._metrics.exposition().decode()
    return [line for line in text.splitlines() if line.startswith("sluicegate_policy_info{")]


async def test_a_changed_file_is_taken(policies, path):
    """The next exchange has the new policy; the metric shows the new digest alone, and the change is counted."""
    before = policies(CALLER)
    path.write_text(version(2))
    await looked(policies, path)
    assert (before.version, policies(CALLER).version) == (1, 2)
    assert shown(policies) == [
        f'sluicegate_policy_info{{digest="{parse_file(version(2)).digest}",policy="p",version="2"}} 1.0'
    ]
    assert (counted(policies, "loaded"), counted(policies, "rejected")) == (1, 0)


async def test_the_same_content_is_no_change(policies, path):
    """A file that is written anew with the same meaning changes nothing, and nothing is counted."""
    since = policies.loaded_at
    path.write_text("# said\n" + TEXT)
    await looked(policies, path)
    assert policies.loaded_at == since
    assert (counted(policies, "loaded"), counted(policies, "rejected")) == (0, 0)


async def test_a_file_that_is_being_written_is_left_alone(policies, path):
    """What two looks found different is not taken, though it could be; when it stands still it is."""
    for number in (2, 3, 4):
        path.write_text(version(number))
        await policies.look(path)
        assert policies(CALLER).version == 1
    await policies.look(path)
    assert policies(CALLER).version == 4


WRONG = {
    "broken YAML": "name: [",
    "half of it": version(2)[: len(TEXT) - 30],
    "empty": "",
    "a fault": version(0),
    "no such guard": version(2).replace("[patterns]", "[patterns, strong]"),
    "nobody judges it": version(2) + "input: {harm: {}}\n",
    "nobody judges it for a tenant": version(2) + "tenants: {acme: {input: {harm: {}}}}\n",
    "nobody judges it at night": version(2)
    + "schedules: [{name: n, from: 22:00, to: 23:00, then: {input: {harm: {}}}}]\n",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
async def test_a_wrong_file_changes_nothing(policies, path, text):
    """The last good policy stays in force, the fault is shown and counted once, and a good file ends it."""
    digest = policies.policies.digest
    path.write_text(text)
    await looked(policies, path)
    await looked(policies, path)
    assert (policies.policies.digest, policies(CALLER).version) == (digest, 1)
    assert counted(policies, "rejected") == 1
    told = policies.told(CALLER, faults=True)["file"]
    assert (told["digest"], str(path) in told["rejected"]["faults"]) == (digest, True)
    assert "faults" not in policies.told(CALLER, faults=False)["file"]["rejected"]
    path.write_text(version(3))
    await looked(policies, path)
    assert (policies(CALLER).version, policies.told(CALLER, faults=True)["file"]["rejected"]) == (3, None)


async def test_going_back_to_the_good_file_ends_the_rejection(policies, path):
    """A wrong file that is put back as it was is rejected no more, and nothing was loaded for it."""
    path.write_text("name: [")
    await looked(policies, path)
    path.write_text(TEXT)
    await looked(policies, path)
    assert policies.rejected is None
    assert (counted(policies, "loaded"), counted(policies, "rejected")) == (0, 1)


async def test_a_file_that_is_gone_changes_nothing(policies, path):
    """Deleted, in place of it a folder, not UTF-8: the last good policy stays, and a file that comes again is taken."""
    path.unlink()
    await looked(policies, path)
    assert "No such file" in policies.rejected.faults
    path.mkdir()
    await looked(policies, path)
    assert "directory" in policies.rejected.faults
    path.rmdir()
    path.write_bytes(b"name: caf\xe9")
    await looked(policies, path)
    assert "cannot be read" in policies.rejected.faults
    assert policies(CALLER).version == 1
    path.write_text(version(2))
    await looked(policies, path)
    assert policies(CALLER).version == 2


async def test_a_file_that_may_not_be_read_changes_nothing(policies, path):
    """Without permission the last good policy stays."""
    path.chmod(0)
    root = os.geteuid() == 0
    if root:  # root may read everything
        os.seteuid(65534)
    try:
        await looked(policies, path)
    finally:
        if root:
            os.seteuid(0)
    assert "denied" in policies.rejected.faults
    assert policies(CALLER).version == 1


async def test_a_link_may_be_pointed_elsewhere(policies, path, tmp_path):
    """A mounted file that is a link, as in Kubernetes, is followed to its new target."""
    (tmp_path / "new.yaml").write_text(version(2))
    path.unlink()
    path.symlink_to(tmp_path / "new.yaml")
    await looked(policies, path)
    assert policies(CALLER).version == 2


async def test_the_watch_looks_by_itself_and_at_once_when_nudged(policies, path):
    """Without a nudge a change is taken after two looks; with one after the first, however long the interval is."""
    nudged = asyncio.Event()
    for every_s, nudge in ((0.01, False), (3600, True)):
        watch = asyncio.create_task(policies.watch(every_s, nudged))
        number = policies(CALLER).version + 1
        path.write_text(version(number))
        if nudge:
            nudged.set()
        async with asyncio.timeout(10):
            while policies(CALLER).version != number:
                await asyncio.sleep(0.01)
        watch.cancel()


def test_the_start_refuses_what_nobody_judges_for_anybody(path):
    """A tenant's, a key's or a schedule's policy that names an uncovered cell ends the start, and says whose it is."""
    for overlay, whose in (
        ("tenants: {acme: {output: {email: {}, injection: {}}}}\n", "(tenant acme)"),
        ("keys: {key_9: {output: {injection: {}}}}\n", "(key key_9)"),
        ("schedules: [{name: n, from: 22:00, then: {output: {injection: {}}}}]\n", "(schedule n)"),
    ):
        path.write_text(TEXT + overlay)
        with pytest.raises(StartError) as refused:
            checked(Settings(policy=path))
        assert f"output.injection: no guard of this policy judges it {whose}" in str(refused.value)
        assert "email" not in str(refused.value)
    path.write_text(TEXT)
    guarded = checked(Settings(policy=path))
    assert "language" in {g.name for g in guarded.guards}
    assert guarded.path == path


async def test_the_clock_decides_at_the_beginning_of_an_exchange(path):
    """A schedule is in force for exchanges that begin in its hours; what was begun before keeps its policy."""
    clock = [datetime(2026, 11, 20, 21, 59, tzinfo=UTC)]
    text = TEXT + "schedules: [{name: night, from: 22:00, to: 23:00, then: {store: none}}]\n"
    policies = PoliciesInForce(parse_file(text), [PatternGuard()], Metrics(), path, now=lambda: clock[0])
    begun = policies(CALLER)
    clock[0] = datetime(2026, 11, 20, 22, 0, tzinfo=UTC)
    assert (begun.store, policies(CALLER).store) == ("metadata", "none")
    assert policies.told(CALLER, faults=False)["overlays"] == {"tenant": None, "key": None, "schedule": "night"}
