"""`sluicegate doctor`: what would keep a gateway from starting is found, with what to do; nothing is changed."""

import asyncio
import json
import os
import socket
import time

import pytest
from typer.testing import CliRunner

from service.cli.main import app
from tests.gateway import KEY, gateway, wire


@pytest.fixture
def examined(tmp_path, monkeypatch):
    """Runs the doctor with settings; its findings by what they are of, and its exit code."""
    for name in [n for n in os.environ if n.startswith("SLUICEGATE_")]:
        monkeypatch.delenv(name)

    def run(**settings):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            given = {"home": tmp_path / "home", "port": free.getsockname()[1], "engine_url": "http://127.0.0.1:9"}
        for name, value in (given | settings).items():
            monkeypatch.setenv(f"SLUICEGATE_{name.upper()}", str(value))
        result = CliRunner().invoke(app, ["doctor", "--json"])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        found = {}
        for finding in map(json.loads, result.stdout.splitlines()):
            found.setdefault((finding["what"], finding["level"]), []).append(finding["said"] + " " + finding["to_do"])
        return {key: "; ".join(said) for key, said in found.items()}, result.exit_code

    return run


def test_a_fresh_machine_is_told_what_is_missing_and_is_left_alone(examined, tmp_path):
    """With no engine the doctor fails with what to do, calls the rest well, and makes no file."""
    found, code = examined()
    assert code == 1
    assert "is it up" in found[("engine", "fail")]
    assert {("settings", "ok"), ("disk", "ok"), ("guard", "ok"), ("policy", "ok"), ("database", "ok")} <= found.keys()
    assert not (tmp_path / "home").exists()


async def test_all_is_well_where_an_engine_answers(examined):
    """Beside an engine that answers no finding is a failure, and its model is named."""
    async with wire("fine") as url:
        found, code = await asyncio.to_thread(examined, engine_url=url)
    assert code == 0, found
    assert "serves m" in found[("engine", "ok")]


def test_whatever_is_wrong_is_named_at_once(examined):
    """A wrong file, key, address, disk and a typing slip are found in one go, each with what to do."""
    found, code = examined(
        policy="nowhere.yaml",
        enginge_url="x",
        database_url="postgresql+asyncpg://u:p@127.0.0.1:9/x",
        engine_url="ftp://x",
        spool_limit_mb=10**12,
    )
    assert code == 1
    assert "nowhere.yaml" in found[("policy", "fail")]
    assert "SLUICEGATE_ENGINGE_URL" in found[("settings", "warn")]
    assert "did you mean SLUICEGATE_ENGINE_URL" in found[("settings", "warn")]
    assert "SLUICEGATE_MASTER_KEY" in found[("master key", "fail")]
    assert "http://host:port" in found[("engine", "fail")]
    assert "MB free" in found[("disk", "warn")]


def test_a_setting_that_cannot_be_read_ends_the_examination(examined):
    """A number that is none is named, and nothing that rests on it is looked at."""
    found, code = examined(max_exchanges="many")
    assert code == 1
    assert list(found) == [("settings", "fail")]
    assert "SLUICEGATE_MAX_EXCHANGES" in found[("settings", "fail")]


def test_what_is_lenient_or_unreachable_is_said(examined):
    """A policy that only watches and lets text pass when a guard fails is two warnings; a dead database a failure."""
    from guards.policy import DEFAULT_POLICY

    key = "cGFzc3dvcmRwYXNzd29yZHBhc3N3b3JkcGFzc3dvcmQ="
    shadow, nowhere = DEFAULT_POLICY.with_name("shadow.yaml"), "postgresql+asyncpg://u:p@127.0.0.1:9/x"
    found, _ = examined(policy=shadow, database_url=nowhere, master_key=key)
    assert "only watches" in found[("policy", "warn")]
    assert "a guard that fails leads to allow" in found[("policy", "warn")]
    assert "SLUICEGATE_DATABASE_URL" in found[("database", "fail")]


def test_what_waits_too_long_in_the_spool_is_said(examined, tmp_path):
    """Events an hour old are a warning with the command that ships them."""
    from service.ledger.ledger import SqlLedger
    from service.settings import Settings
    from tests.store.events import asked, new_id

    home = tmp_path / "home"

    async def leave_one():
        ledger = SqlLedger(Settings(home=home))
        await ledger.store.ready()
        await ledger.spool.start()
        await ledger.commit(asked(new_id()))
        await ledger.spool.stop()
        ledger.spool.release()
        await ledger.store.close()

    asyncio.run(leave_one())
    for file in (home / "spool").glob("*.log"):
        os.utime(file, (time.time() - 7200,) * 2)
    found, _ = examined()
    assert "ledger ship" in found[("spool", "warn")]


async def test_a_gateway_that_runs_is_asked_for_its_policy(examined, tmp_path):
    """The policy in force is held against the file's: the same, another, or a file that no policy can be read from."""
    wrong, other = tmp_path / "wrong.yaml", tmp_path / "other.yaml"
    wrong.write_text("name: 7")
    other.write_text("name: other\nversion: 1\nguards: [patterns]\ninput: {email: {action: flag}}\n")
    async with wire("fine") as engine, gateway(tmp_path / "gateway", engine_url=engine) as (_, url):
        there = {"engine_url": engine, "port": url.rpartition(":")[2], "admin_key": f"{KEY}-admin"}
        same, differs, unread = [
            (await asyncio.to_thread(examined, **there, **more))[0]
            for more in ({}, {"policy": other}, {"policy": wrong})
        ]
    assert "it has the policy of the file" in same[("gateway", "ok")]
    assert "was the file rejected?" in differs[("gateway", "warn")]
    assert "the file is wrong" in unread[("gateway", "warn")]
    assert "wrong.yaml" in unread[("policy", "fail")]
