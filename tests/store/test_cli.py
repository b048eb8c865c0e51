import asyncio
import base64
import json
import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from service.cli.main import app
from service.ledger.ledger import SqlLedger
from service.settings import Settings
from tests.store.events import SECRET, asked, clean, flagged, new_id


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs `sluicegate WORDS...` on an installation of its own."""
    for name in [n for n in os.environ if n.startswith("SLUICEGATE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path))

    def command(*words, code=0):
        result = CliRunner().invoke(app, [str(w) for w in words])
        assert result.exit_code == code, result.output
        return result

    return command


@pytest.fixture
def record(tmp_path):
    """Puts events into the spool, and ships them unless told otherwise."""

    async def write(events, ship):
        ledger = SqlLedger(Settings(home=tmp_path))
        if not ship:
            await ledger.store.ready()
            await ledger.spool.start()
            for event in events:
                await ledger.commit(event)
            await ledger.spool.stop()
            ledger.spool.release()
            await ledger.store.close()
            return
        await ledger.start()
        for event in events:
            await ledger.commit(event)
        await ledger.drain(20)
        await ledger.stop()

    return lambda events, ship=True: asyncio.run(write(events, ship))


def test_a_key_is_shown_once(run):
    """`keys create` prints the key on stdout alone; `keys list` shows who has keys, never a key; `revoke` ends one."""
    made = run("keys", "create", "--role", "moderator", "--tenant", "acme", "--name", "ada", "--requests-per-minute", 9)
    token = made.stdout.strip()
    assert re.fullmatch(r"sg-moderator-[\w-]{43}", token)
    listed = run("keys", "list").stdout
    assert token not in listed
    assert "acme" in listed
    (row,) = [json.loads(x) for x in run("keys", "list", "--json").stdout.splitlines()]
    assert (row["tenant"], row["role"], row["name"], row["requests_per_minute"]) == ("acme", "moderator", "ada", 9)
    run("keys", "revoke", row["id"])
    assert "revoked" in run("keys", "list").stdout
    assert "keys list" in run("keys", "revoke", row["id"], code=1).stderr


def test_wrong_input_is_one_line_of_advice(run, monkeypatch):
    """Whatever is wrong, the command line says what and what to do, with a failing exit code and no traceback."""
    for words, advice in (
        (("keys", "create", "--role", "root"), "moderator"),
        (("keys", "create", "--tenant", "a b"), "tenant"),
        (("review", "show", "exc_none"), "review list"),
        (("review", "decide", "exc_none", "--reviewer", "ada", "--input", "bad"), "harmful, ok"),
        (("ledger", "erase", "exc_none"), "ledger ship"),
    ):
        error = run(*words, code=1).stderr
        assert advice in error
        assert error.startswith("error: ")
        assert error.count("\n") == 1
    for name, value, advice in (
        ("SLUICEGATE_DATABASE_URL", "nonsense", "SLUICEGATE_DATABASE_URL"),
        ("SLUICEGATE_DATABASE_URL", "postgresql+asyncpg://a@127.0.0.1:1/b", "SLUICEGATE_DATABASE_URL"),
        ("SLUICEGATE_MASTER_KEY", "short", "openssl rand -base64 32"),
        ("SLUICEGATE_PORT", "many", "SLUICEGATE_PORT"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert advice in run("ledger", "status", code=1).stderr


def test_no_traceback_from_the_installed_command(tmp_path):
    """The command itself, as a process, ends with code 1 and one line when its home cannot be used."""
    (tmp_path / "home").write_text("a file")
    environment = os.environ | {"SLUICEGATE_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", "from service.cli import main; main()", "ledger", "status"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("noun", ["keys", "ledger", "review"])
def test_help_teaches_by_example(run, noun):
    """Every verb's help has an example that names the verb."""
    verbs = re.findall(r"^\W*(\w+)\s{2,}", run(noun, "--help").stdout.split("Commands")[1], re.MULTILINE)
    assert len(verbs) >= 3
    for verb in verbs:
        assert f"sluicegate {noun} {verb}" in run(noun, verb, "--help").stdout


def test_review_from_list_to_export(run, record, tmp_path):
    """A flagged exchange is listed, shown, decided, decided again, and exported."""
    exchange_id = new_id()
    record([*flagged(exchange_id), *clean(new_id())])
    assert exchange_id in run("review", "list", "--open").stdout
    (item,) = [json.loads(x) for x in run("review", "list", "--json").stdout.splitlines()]
    assert item["categories"] == ["harm"]
    assert SECRET not in run("review", "list").stdout
    assert SECRET in run("review", "show", exchange_id[:16]).stdout
    plain = json.loads(run("review", "show", exchange_id, "--json").stdout)
    assert plain["texts"][f"{exchange_id}:verdict:1"]["judged"] == SECRET
    for words in (("--input", "ok"), ("--input", "harmful", "--action", "correct", "--category", "harm")):
        decided = run("review", "decide", exchange_id, *words, "--reviewer", "ada", "--note", "because")
        assert decided.stdout.startswith("dec_")
    assert "superseded" in run("review", "show", exchange_id).stdout
    assert run("review", "list", "--open").stdout == ""
    out = tmp_path / "out.jsonl"
    assert "1 examples" in run("review", "export", "--out", out).stdout
    (row,) = [json.loads(x) for x in out.read_text().splitlines()]
    assert (row["prompt"], row["labels"]) == (SECRET, {"harm": 1})
    assert out.stat().st_mode & 0o777 == 0o600
    run("ledger", "erase", exchange_id)
    assert SECRET not in run("review", "show", exchange_id).stdout


def test_ship_carries_what_an_ended_process_left(run, record, tmp_path):
    """`ledger ship` stores what is in the spool; status and verify say what there is before and after."""
    done, begun = new_id(), new_id()
    record([*flagged(done), asked(begun)], ship=False)
    assert "shipped by the next start" in run("ledger", "status").stdout
    before = json.loads(run("ledger", "verify", "--json").stdout)
    assert (before["unshipped"], before["orphans"], before["faults"]) == ([done], [begun], [])
    assert "2 exchanges shipped" in run("ledger", "ship").stdout
    after = json.loads(run("ledger", "verify", "--json").stdout)
    assert (after["files"], after["unshipped"], after["orphans"], after["faults"]) == ([], [], [], [])
    state = json.loads(run("ledger", "status", "--json").stdout)
    assert state["rows"]["exchanges"] == 2
    assert state["review_open"] == 2
    assert "of this version" in run("ledger", "migrate").stdout


def test_verify_finds_damage(run, record, tmp_path, monkeypatch):
    """A rotten byte in the spool, or a text that does not open, is a fault with its place, and exit code 1; a lost
    master key is an error, and never replaced by a new one."""
    first, second = new_id(), new_id()
    record([asked(first), asked(second)], ship=False)
    (path,) = (tmp_path / "spool").glob("*.log")
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    assert f"fault: {path.name}" in run("ledger", "verify", code=1).stdout
    run("ledger", "ship")
    assert ".damaged" in run("ledger", "verify", code=1).stdout
    (tmp_path / "spool" / path.with_suffix(".damaged").name).unlink()
    assert "0 never closed" in run("ledger", "verify").stdout
    (tmp_path / "master.key").unlink()
    assert "restore it" in run("ledger", "verify", code=1).stderr
    monkeypatch.setenv("SLUICEGATE_MASTER_KEY", base64.b64encode(bytes(32)).decode())
    assert f"{second}:asked: its text cannot be opened" in run("ledger", "verify", code=1).stdout
    assert "not among the keys" in run("review", "show", second, code=1).stderr


def test_a_running_gateway_and_the_command_line_share_the_house(run, record, tmp_path):
    """While a process writes, verify calls its open exchanges neither lost nor orphaned, and ship leaves them alone."""

    async def with_gateway(act):
        ledger = SqlLedger(Settings(home=tmp_path))
        await ledger.start()
        await ledger.commit(asked(new_id()))
        await asyncio.to_thread(act)
        await ledger.stop()

    def act():
        found = json.loads(run("ledger", "verify", "--json").stdout)
        assert (found["unshipped"], found["orphans"], found["faults"]) == ([], [], [])
        assert found["files"][0]["alive"]
        assert "0 exchanges shipped" in run("ledger", "ship").stdout
        assert "in use" in run("ledger", "status").stdout

    asyncio.run(with_gateway(act))


def test_a_reader_who_leaves_is_no_fault_of_the_database(tmp_path):
    """A pipe that is closed early, as by `head`, ends a verb without a word about the database."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-c", "from service.cli.main import main; main()", "keys", "create", "--role", "client"]
    environment = {"SLUICEGATE_HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(command, env=environment, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert done.returncode == 1
    assert "shown this once" in done.stderr
    assert "database" not in done.stderr
