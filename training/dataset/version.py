"""A version on disk: `registry/datasets/NAME/VERSION/` with `manifest.json` and `items.jsonl`. Never changed."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from training.dataset.items import Item, Json, item
from training.rows import DataError

MANIFEST: Final = "manifest.json"
ITEMS: Final = "items.jsonl"
VERSION_CHARS: Final = 12
KEY: Final = "dataset.key"


@dataclass(frozen=True, slots=True)
class Version:
    """A dataset as it is, without texts."""

    folder: Path
    manifest: Json
    items: list[Item]

    @property
    def id(self) -> str:
        return f"{self.manifest['name']}@{self.manifest['version']}"

    @property
    def digest(self) -> str:
        return str(self.manifest["digest"])


def registry() -> Path:
    """`SLUICEGATE_REGISTRY`, by default `registry` in SLUICEGATE_HOME."""
    home = Path(os.environ.get("SLUICEGATE_HOME") or "var")
    return Path(os.environ.get("SLUICEGATE_REGISTRY") or home / "registry")


def secret() -> bytes:
    """The key of the keyed hashes; made at the first build, for its owner alone."""
    path = registry() / KEY
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as made:
            made.write(secrets.token_hex(32).encode())
    except FileExistsError:
        pass
    except OSError as error:
        raise DataError(
            f"{path}: the registry cannot be written ({error.strerror}); set SLUICEGATE_REGISTRY"
        ) from error
    return path.read_bytes()


def digest(manifest: Json, items: Iterable[Item]) -> str:
    """Of what was learnt from and by which rules: the same wherever the sources lie and whichever key hashes texts."""
    sources = sorted([s["name"], s["kind"], s["sha256"]] for s in manifest["sources"])
    head = json.dumps([manifest["name"], sources, manifest["rules"]], sort_keys=True)
    body = hashlib.sha256(head.encode())
    for one in items:
        body.update(replace(one, key="").line().encode() + b"\n")
    return body.hexdigest()


def write(manifest: Json, items: Sequence[Item]) -> Version:
    """The version, new, or as it was made before. Whole or not at all."""
    found = digest(manifest, items)
    manifest = manifest | {"digest": found, "version": found[:VERSION_CHARS]}
    folder = registry() / "datasets" / str(manifest["name"]) / str(manifest["version"])
    if folder.is_dir():
        return load(folder)
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    draft.mkdir(parents=True)
    lines = "".join(one.line() + "\n" for one in items).encode()
    manifest |= {"items_sha256": hashlib.sha256(lines).hexdigest()}
    (draft / ITEMS).write_bytes(lines)
    (draft / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for path in draft.iterdir():
        path.chmod(0o444)
    try:
        draft.rename(folder)
    except OSError:  # somebody else has just made the same
        shutil.rmtree(draft)
    return load(folder)


def find(name: str) -> Path:
    """The folder of a path, of NAME@VERSION (its beginning will do), or of NAME: its newest. Raises DataError."""
    if (Path(name) / MANIFEST).is_file():
        return Path(name)
    of, _, version = name.partition("@")
    found = [p.parent for p in (registry() / "datasets" / of).glob(f"{version}*/{MANIFEST}")] if of else []
    if version and len(found) > 1:
        raise DataError(f"{name}: several versions begin so: {', '.join(sorted(p.name for p in found))}")
    if not found:
        raise DataError(f"{name}: no such dataset in {registry()}; see: sluicegate-train data list")
    return max(found, key=lambda folder: (_manifest(folder)["made_at"], folder.name))


def load(folder: Path) -> Version:
    """Raises DataError."""
    manifest = _manifest(folder)
    try:
        lines = (folder / ITEMS).read_text(encoding="utf-8").split("\n")
        return Version(folder, manifest, [item(json.loads(line)) for line in lines if line])
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{folder / ITEMS}: cannot be read: {error}") from error


def versions() -> list[Json]:
    """The manifests of all that is in the registry, by name, oldest first."""
    found = [_manifest(path.parent) for path in (registry() / "datasets").glob(f"*/*/{MANIFEST}")]
    return sorted(found, key=lambda m: (m["name"], m["made_at"]))


def faults(version: Version) -> list[str]:
    """What is not as it was when it was made."""
    found = []
    lines = (version.folder / ITEMS).read_bytes()
    if hashlib.sha256(lines).hexdigest() != version.manifest["items_sha256"]:
        found.append(f"{ITEMS} was changed")
    if digest(version.manifest, version.items) != version.digest:
        found.append("the digest is of other items, sources or rules")
    if version.digest[:VERSION_CHARS] != version.manifest["version"]:
        found.append("the version is not the beginning of the digest")
    return found


def exchanges(version: Version) -> list[str]:
    """The exchanges that it holds texts of: what an erasure asks for."""
    return sorted({exchange for one in version.items for exchange in one.exchanges})


def _manifest(folder: Path) -> Json:
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found["name"], found["version"], found["digest"], found["made_at"], found["items_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not the manifest of a dataset ({error!r})") from error
    return dict(found)
