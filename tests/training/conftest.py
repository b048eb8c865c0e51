"""Training runs in the engine's environment, where torch is."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("SLUICEGATE_ENGINE_ENV") or ROOT / ".venv-engine") / "bin" / "python"
WARM = Path(__file__).with_name("warm.py")

ASKED = ["bake bread", "sort a list", "plan a trip", "learn chess", "paint a wall", "fix a bike", "grow basil"]
WRONGS = ["rob a bank", "poison my boss", "forge a passport", "burn a shop down", "steal a car", "blackmail a judge"]


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs python with arguments in the environment that has torch; see `warm.py`."""
    if not PYTHON.is_file():
        pytest.skip("no .venv-engine: run `make test`, or `sluicegate engine install`")
    quiet = {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    out, err = (tmp_path_factory.mktemp("said") / name for name in ("out", "err"))
    with subprocess.Popen(
        [PYTHON, WARM], env=os.environ | quiet, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"

        def run(*arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
            command = {"arguments": arguments, "environment": os.environ | quiet | environment}
            print(json.dumps(command | {"out": str(out), "err": str(err)}), file=process.stdin, flush=True)
            code = int(process.stdout.readline())
            done = subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())
            assert code == 0 or not check, done.stderr
            return done

        yield run
        process.stdin.close()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of made-up rows, one source of them under a licence that is not allowed."""
    rows = []
    for letters in ("aaa", "bbb", "ccc", "ddd", "eee", "fff", "ggg", "hhh"):
        for what, harm in [(a, 0) for a in ASKED] + [(w, 1) for w in WRONGS]:
            prompt = f"How do I {what}, version {letters}?"
            given = {"source": "ours", "license": "MIT", "group": what}
            rows.append({"prompt": prompt, "response": None, "labels": {"harm": harm}} | given)
            answer = f"First {what}, then {letters}." if harm else "I am glad to help with that."
            rows.append({"prompt": prompt, "response": answer, "labels": {"response_harm": harm}} | given)
    rows.append({"prompt": "locked away", "labels": {"harm": 1}, "source": "theirs", "license": "see-source"})
    folder = tmp_path_factory.mktemp("data") / "train"
    folder.mkdir()
    (folder / "made_up.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder.parent


RECIPE = f"""
name: tiny
version: 0.0.1
seed: 3
licenses: [MIT]
heads: {{harm: [input], response_harm: [output]}}
start: {{guard: {ROOT / "guards" / "models" / "default"}, layers: 2}}
sources: {{ours: 1000, theirs: 1000}}
shares: {{train: 0.6, validation: 0.4}}
max_tokens: 32
overlap_tokens: 8
prompt_tokens: 8
epochs: 3
batch_tokens: 512
lr: 1.0e-4
head_lr: 1.0e-2
warmup: 0.1
weight_decay: 0.01
frozen: [encoder.embeddings]
checkpoint_s: 0.1
finish: {{kept: 0.6, head_c: 0.01, wide_c: 10}}
operating_fpr: {{harm: 0.1, response_harm: 0.1}}
everyday: {{sources: [ours], fpr: 0.1}}
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """Two layers, two heads, a few steps, from the shipped weights."""
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The training command but for the folder to write to, which comes last."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(RECIPE)
    return ["--recipe", str(path), "--threads", "1", "--out"]


@pytest.fixture(scope="session")
def trained(
    train: Callable[..., object], data: Path, command: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A guard trained on the made-up rows."""
    out = tmp_path_factory.mktemp("guard") / "tiny"
    train("-m", "training.train_guard", *command, str(out), SLUICEGATE_DATA=str(data))
    return out
