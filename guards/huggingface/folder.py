"""A model's folder: which files are read, and how they become logits.

Only JSON, ONNX, OpenVINO and safetensors files are read; pickles never, whatever else lies beside them.
"""

import hashlib
import re
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from guards.guard import GuardError
from guards.huggingface.spec import HuggingFaceSpec
from guards.runtime import Run, fastest, opened, torch_opened

EXPORTED: Final = ("model.onnx", "onnx/model.onnx", "openvino_model.xml", "openvino/openvino_model.xml")
BESIDE: Final = ("model.onnx_data", "onnx/model.onnx_data", "openvino_model.bin", "openvino/openvino_model.bin")
TOKENIZER: Final = "tokenizer.json"
CONFIG: Final = "config.json"
HUB_ID: Final = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


class Config(BaseModel):
    """What is read of `config.json`."""

    model_config = ConfigDict(extra="ignore")
    id2label: dict[int, str]
    architectures: tuple[str, ...] = ()
    problem_type: str | None = None
    max_position_embeddings: int | None = None


def resolve(spec: HuggingFaceSpec, folder: Path) -> Path:
    """The folder of a model: one beside the guards file, or a snapshot from the hub, fetched now. Raises GuardError."""
    local = folder / spec.model
    if local.is_dir():
        return local
    if not HUB_ID.fullmatch(spec.model):
        raise GuardError(f"{local}: there is no such folder, and {spec.model!r} is no hub id (owner/name)")
    from huggingface_hub import snapshot_download

    torch = ("*.safetensors", "model.safetensors.index.json") if spec.backend == "torch" else ()
    wanted = [CONFIG, TOKENIZER, *(torch or (*EXPORTED, *BESIDE))]
    try:
        return Path(snapshot_download(spec.model, revision=spec.revision, allow_patterns=wanted))
    except Exception as error:  # the hub's own, requests' or the disk's
        reason = f"cannot be fetched ({type(error).__name__})"
        raise GuardError(f"{spec.model}: no folder {local}, and from the hub it {reason}") from error


def config_of(folder: Path) -> Config:
    try:
        return Config.model_validate_json(read(folder / CONFIG, "a model's folder has one"))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise GuardError(f"{folder / CONFIG}: {where}: {error.errors()[0]['msg']}") from error


def read(path: Path, hint: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GuardError(f"{path}: cannot be read ({error.strerror}); {hint}") from error


def run_of(spec: HuggingFaceSpec, folder: Path, threads: int, *, tokens: bool) -> tuple[str, Run]:
    if spec.backend == "torch":
        return "torch", torch_opened(folder, tokens=tokens)
    path = next((folder / name for name in EXPORTED if (folder / name).is_file()), None)
    if path is None:
        raise GuardError(
            f"{folder} has none of {', '.join(EXPORTED)}: export the model, or say `backend: torch` and run it with "
            "`sluicegate guards serve` where torch is"
        )
    backend = "openvino" if path.suffix == ".xml" else fastest() if spec.backend == "auto" else spec.backend
    try:
        return backend, opened(path, backend, threads)
    except GuardError:
        raise
    except Exception as error:  # the runtimes raise bare RuntimeError and their own
        raise GuardError(f"{path}: {backend} cannot load it ({type(error).__name__})") from error


def digest_of(spec: HuggingFaceSpec, folder: Path, tokenizer: bytes) -> str:
    """sha256 over weights, tokenizer, config, and what the spec makes of them."""
    weights = (
        sorted(folder.glob("*.safetensors")) if spec.backend == "torch" else [folder / n for n in (*EXPORTED, *BESIDE)]
    )
    parts = [hashlib.sha256(p.read_bytes()).hexdigest() for p in weights if p.is_file()]
    parts += [hashlib.sha256(b).hexdigest() for b in (tokenizer, (folder / CONFIG).read_bytes())]
    meaning = spec.model_dump_json(exclude={"model", "revision", "backend"})
    return hashlib.sha256("\0".join([*parts, meaning]).encode()).hexdigest()
