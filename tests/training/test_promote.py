"""Promotion as a person does it: the commands, over HTTP, to the real service."""

import hashlib
import json
from pathlib import Path

import pytest

from guards.policy import Policy
from service.settings import Settings
from tests.fakes import WordGuard
from tests.quiet import quiet
from tests.serving import ADMIN_KEY, OPERATOR_KEY, served
from training import promote
from training.promote import lineage, main, write_lineage
from training.rows import DataError
from training.service_client import KEY, Service, ServiceError

RULES = {"harm": {}}


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    """The service's log would be among what commands print."""
    with quiet():
        yield


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service with a real ledger, and a registry of its own."""
    home = tmp_path_factory.mktemp("home")
    policy = Policy.model_validate({"name": "test", "version": 1, "guards": ["words"], "input": RULES})
    settings = Settings(home=home, requests_per_minute=1_000_000)
    with served(policy, [WordGuard({"harm": "dynamite"})], home=home, settings=settings) as running:
        yield running, home / "registry" / "models"


def candidate(folder: Path, version: str, passed: bool) -> Path:
    """A guard as training leaves it, but for its weights, which nobody reads here."""
    folder.mkdir(parents=True)
    files = {"model.onnx": f"weights of {version}".encode(), "tokenizer.json": b"{}"}
    for name, body in files.items():
        (folder / name).write_bytes(body)
    heads = {"harm": {"stages": ["input"]}}
    sizes = {"max_tokens": 32, "overlap_tokens": 8, "prompt_tokens": 8}
    digests = {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}
    manifest = {"name": "words", "version": version, "heads": heads, "files": digests} | sizes
    (folder / "guard.json").write_text(json.dumps(manifest))
    check = {"name": "ranking", "category": "harm", "candidate": 0.5, "serving": 0.9, "difference": -0.4}
    check |= {"low": -0.45, "high": -0.35, "passed": passed}
    write_lineage(folder, gates={"passed": passed, "checks": [check]})
    return folder


@pytest.fixture
def ask(service, capsys, monkeypatch):
    """One `promote` command as an operator; what it prints."""

    def run(*arguments: str, key: str = OPERATOR_KEY) -> str:
        monkeypatch.setenv(KEY, key)
        main([*arguments, "--url", service[0].url])
        return capsys.readouterr().out

    return run


def test_all_the_way_and_back(service, ask):
    """A candidate that passed is registered, put in shadow, made a canary, enforced, and taken back by one command."""
    folder = candidate(service[1] / "words" / "2.0", "2.0", passed=True)
    assert "words@2.0: registered" in ask("register", str(folder))
    assert "words@2.0: shadow" in ask("shadow", "words@2.0")
    assert "words@2.0: canary" in ask("canary", "words@2.0", "--share", "0.1", "--reason", "first look")
    assert "words@2.0: enforced" in ask("enforce", "words@2.0")
    assert "enforced" in next(line for line in ask("status").splitlines() if line.startswith("words@2.0"))
    told = json.loads(ask("status", "words@2.0"))
    assert [step["action"] for step in told["model"]["history"]][-2:] == ["canary", "enforce"]
    assert told["shadow"]["exchanges"] == 0
    assert json.loads(ask("rollback", "words", "--reason", "too many refusals"))["replaced"] == "words@2.0"
    assert json.loads(ask("status", "words@2.0"))["model"]["stage"] != "enforced"


def test_a_candidate_that_gates_stopped_goes_nowhere(service, ask):
    """A bad candidate is known and no more: each stage is refused with 409; an admin alone overrides, with a reason."""
    folder = candidate(service[1] / "words" / "3.0", "3.0", passed=False)
    ask("register", str(folder))
    for stage in (["shadow"], ["canary"], ["enforce"]):
        share = ["--share", "0.1"] if stage == ["canary"] else []
        with pytest.raises(ServiceError, match="gate") as refused:
            ask(*stage, "words@3.0", *share)
        assert refused.value.status == 409
    with pytest.raises(ServiceError, match="admin"):
        ask("shadow", "words@3.0", "--override", "--reason", "I know better")
    assert "shadow" in ask("shadow", "words@3.0", "--override", "--reason", "to look at it", key=ADMIN_KEY)


def test_files_that_changed_are_refused(service, ask):
    """What is registered is what was judged: other weights than the lineage names are refused."""
    folder = candidate(service[1] / "words" / "4.0", "4.0", passed=True)
    (folder / "model.onnx").write_bytes(b"other weights")
    with pytest.raises(ServiceError, match="sha256"):
        ask("register", str(folder))


def test_outside_the_registry(service, ask, tmp_path):
    """A candidate elsewhere than in the registry is refused, and told where it must be."""
    with pytest.raises(ServiceError, match="registry"):
        ask("register", str(candidate(tmp_path / "guard", "5.0", passed=True)))


@pytest.mark.parametrize("model", ["words", "words@", "@2.0"])
def test_a_model_is_named_with_its_version(ask, model):
    """A name without version, or the other way round, is refused before anybody is asked."""
    with pytest.raises(DataError, match="NAME@VERSION"):
        ask("enforce", model)


def test_nobody_there_and_no_key(monkeypatch):
    """A service that does not answer, and a missing key, are said in one line, with what to do."""
    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(ServiceError, match="keys create"):
        Service("http://127.0.0.1:9")
    with pytest.raises(ServiceError, match="Is it running") as away:
        Service("http://127.0.0.1:9", "sg-any").get("/v1/models")
    assert away.value.status == 0


def test_lineage_is_of_the_files_as_they_are(tmp_path):
    """The digest in a lineage is always that of the files; a folder without a guard has none."""
    folder = candidate(tmp_path / "guard", "1.0", passed=True)
    write_lineage(folder, digest="0" * 64, run="run-1")
    assert lineage(folder)["digest"] == hashlib.sha256((folder / "guard.json").read_bytes()).hexdigest()
    assert lineage(folder)["run"] == "run-1"
    with pytest.raises(DataError, match="no guard"):
        lineage(tmp_path)


def test_thresholds_are_the_policys(tmp_path):
    """Gates judge at the lowest threshold that a policy has for a category, at the input or the output."""
    path = tmp_path / "policy.yaml"
    rules = "input:\n  hate: {threshold: 0.7}\noutput:\n  hate: {threshold: 0.4}\n  toxicity: {threshold: 0.9}\n"
    path.write_text(f"name: test\nversion: 1\nguards: [default]\n{rules}")
    assert promote.thresholds_of(path) == {"hate": 0.4, "toxicity": 0.9}
    path.write_text("name: [")
    with pytest.raises(DataError):
        promote.thresholds_of(path)


def test_help_teaches(capsys):
    """`promote --help` shows the way of a candidate, command by command, and each verb has its own."""
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"promote {verb}" in shown for verb in ("check", "register", "shadow", "canary", "enforce", "rollback"))


def test_check_without_a_set(tmp_path):
    """Without a set nothing is judged, and nothing passes: the options that give one are named."""
    with pytest.raises(DataError, match="--recent"):
        main(["check", str(tmp_path)])
