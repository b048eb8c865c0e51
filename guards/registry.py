"""Which guards there are: name -> guard, versions with digests. Loads weights and JSON, never code."""

from pathlib import Path
from typing import Final

from guards.classifier import MANIFEST, Backend, Classifier, Manifest, read_manifest
from guards.guard import GuardError

MODELS: Final = Path(__file__).with_name("models")
ALLOWED: Final = frozenset({".onnx", ".safetensors", ".json", ".md"})  # nothing that can carry code, as pickles do


def shipped(folder: Path = MODELS) -> list[Manifest]:
    """The classifiers under `folder`, by name. Raises GuardError when one of them is broken."""
    return [read_manifest(path.parent)[0] for path in sorted(folder.glob(f"*/{MANIFEST}"))]


def load(
    name: str = "default",
    folder: Path | None = None,
    backend: Backend = "auto",
    threads: int = 1,
    batch_tokens: int = 4096,
) -> Classifier:
    """A classifier by name, from `folder` (a guard's own folder) or from those that ship.

    Raises:
        GuardError: there is none of that name, a digest differs, or the folder holds what is neither weights nor JSON.
    """
    at = folder or MODELS / name
    if not at.is_dir():
        raise GuardError(f"no guard {name!r} at {at}; shipped: {[m.name for m in shipped()]}")
    if strange := sorted(p.name for p in at.iterdir() if p.suffix not in ALLOWED):
        raise GuardError(f"{at}: {strange} refused: a guard holds only {sorted(ALLOWED)} files")
    return Classifier(at, backend, threads, batch_tokens)
