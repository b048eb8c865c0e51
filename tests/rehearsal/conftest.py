import json
import os

import pytest
from typer.testing import CliRunner

from guards.policy import Policies, Policy, parse_file
from service.cli.main import app
from service.judges import BatchedJudges
from service.telemetry.metrics import Metrics
from tests.fakes import WordGuard

WORDS = {"harm": "storm", "injection": "override", "response_harm": "flood", "card": "4111"}


def policy(**fields):
    rules = {
        "input": {"harm": {"action": "refuse"}, "card": {"action": "redact"}},
        "output": {"response_harm": {"action": "refuse"}, "card": {"action": "redact"}},
    }
    base = {"name": "mine", "version": 1, "guards": ["words"], "first_segment_chars": 8}
    return Policy.model_validate(base | rules | fields)


def file(**fields) -> Policies:
    """A policy file with these fields; JSON is YAML."""
    return parse_file(json.dumps(policy().model_dump(mode="json") | fields))


@pytest.fixture
def guard():
    return WordGuard(WORDS)


@pytest.fixture
async def judges(guard):
    async with BatchedJudges([guard], Metrics()) as found:
        yield found


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs `sluicegate WORDS...` on an installation of its own."""
    for name in [n for n in os.environ if n.startswith("SLUICEGATE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path))

    def run(*words, code=0):
        result = CliRunner().invoke(app, [str(w) for w in words])
        assert result.exit_code == code, result.output
        return result

    return run
