"""Files of a version in the registry: where they are, and the digest that is its identity."""

import hashlib
import json
from pathlib import Path
from typing import Final, Literal

from guards.classifier import MANIFEST, MODEL, read_manifest
from guards.guard import GuardError
from service.learning.errors import LearningError

Kind = Literal["guard", "adapter"]
ADAPTER: Final = ("adapter_config.json", "adapter_model.safetensors")  # weights that carry no code


def located(registry: Path, folder: str) -> Path:
    """The folder, which must be in the registry: an address in a request is no way to other files.

    Raises:
        LearningError: it is elsewhere, or not there.
    """
    home = registry.resolve()
    found = (home / folder).resolve()
    if not found.is_relative_to(home) or found == home:
        raise LearningError(f"{folder} is not in the registry ({home}); copy the version there, then register it")
    if not found.is_dir():
        raise LearningError(f"there is no folder {found}; gateways and training must see the same registry")
    return found


def identity(kind: Kind, folder: Path) -> tuple[str, str]:
    """(digest of the version, digest of its weights alone), both of the files as they are now.

    Of a guard the first is that of `guard.json`, which names the digests of weights and tokenizer and holds the
    calibration; of an adapter it is over its configuration and weights.

    Raises:
        LearningError: a file is missing, or is not the one that is named.
    """
    try:
        if kind == "guard":
            return _guard(folder)
        digests = {name: _sha256(folder / name) for name in ADAPTER}
    except GuardError as error:
        raise LearningError(str(error)) from error
    except OSError as error:
        raise LearningError(f"{error.filename}: cannot be read ({error.strerror})") from error
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest(), digests[ADAPTER[1]]


def _guard(folder: Path) -> tuple[str, str]:
    manifest, body = read_manifest(folder)
    for name, digest in manifest.files.items():
        if (found := _sha256(folder / name)) != digest:
            raise LearningError(f"{folder / name}: sha256 is {found[:12]}, {MANIFEST} names {digest[:12]}")
    return hashlib.sha256(body).hexdigest(), manifest.files[MODEL]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
