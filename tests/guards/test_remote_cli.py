"""`sluicegate guards serve` as a process of its own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from guards.patterns import PatternGuard
from guards.remote import RemoteSpec, remote
from guards.verdict import Passage
from service.transport import HttpTransport

SLUICEGATE = Path(sys.executable).with_name("sluicegate")


def test_without_a_key_nothing_is_served(tmp_path):
    """The verb ends with one line that names the variable to set."""
    environment = {k: v for k, v in os.environ.items() if k != "GUARD_KEY"}
    done = subprocess.run(
        [SLUICEGATE, "guards", "serve"], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: GUARD_KEY is not set")
    assert "Traceback" not in done.stderr


def test_a_guard_that_is_not_there_is_told(tmp_path):
    """An unknown name ends the verb with one line."""
    environment = os.environ | {"GUARD_KEY": "k"}
    command = [SLUICEGATE, "guards", "serve", "--guard", "nobody"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "nobody" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_served_guard_judges_as_it_does_here(tmp_path, monkeypatch):
    """Patterns found through the process are those found here, spans included; SIGTERM ends it well."""
    monkeypatch.setenv("GUARD_KEY", "sk-judge")
    command = [SLUICEGATE, "guards", "serve", "--guard", "patterns", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        url = re.search(r"http://[\d.:]+", process.stdout.readline()).group()
        spec = RemoteSpec(url=url, key_env="GUARD_KEY", timeout_s=20)
        transport = HttpTransport(spec)
        guard, local = remote("far", spec, transport), PatternGuard()
        passages = [Passage("Write to ann@example.org."), Passage("Nothing here.", "response", "Hi")]
        assert guard.judge(passages) == local.judge(passages)
        assert guard.digest == local.digest
        assert guard.languages is None
        assert guard.covers("output") == local.covers("output")
        transport.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
