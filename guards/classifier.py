"""Encoder classifiers: an ONNX model with one head a category, on OpenVINO in bf16 or on ONNX Runtime."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from guards.calibration import sigmoid
from guards.guard import GuardError
from guards.language import ONLY_HOME
from guards.runtime import Backend, fastest, opened
from guards.taxonomy import CATEGORIES
from guards.verdict import Languages, Passage, Scores, Stage
from guards.windows import Windows, batches, pad

MANIFEST: Final = "guard.json"
MODEL: Final = "model.onnx"
TOKENIZER: Final = "tokenizer.json"


class Head(BaseModel):
    """One category: where it applies, and how its logit becomes a probability."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    stages: tuple[Stage, ...] = Field(min_length=1)
    slope: float = Field(1.0, gt=0)  # rising, so that the highest logit is the highest probability
    intercept: float = 0.0


class Manifest(BaseModel):
    """`guard.json`. `heads` are in the order of the model's outputs; `files` are sha256 digests."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    version: str
    heads: dict[str, Head]
    max_tokens: int = Field(gt=8, le=8192)
    overlap_tokens: int = Field(ge=0)
    prompt_tokens: int = Field(ge=0)
    files: dict[str, str]
    languages: dict[str, dict[str, float]] = {}  # ISO 639 code -> category -> recall on held-out rows
    architecture: dict[str, Any] = {}
    training: dict[str, Any] = {}

    def covers(self, stage: Stage) -> frozenset[str]:
        return frozenset(category for category, head in self.heads.items() if stage in head.stages)


class Classifier:
    """A guard from a folder of `guard.json`, `model.onnx`, `tokenizer.json`; nothing in it is ever executed.

    Args:
        backend: `auto` takes OpenVINO where the CPU computes in bf16, else ONNX Runtime.
        threads: CPU threads of one inference.
        batch_tokens: most tokens, padding included, in one inference: bounds memory however long a text is.

    Raises:
        GuardError: a file is missing, or is not the one that `guard.json` names.
    """

    most_chars: int | None = 8_000  # a tenth of a second or so

    def __init__(self, folder: Path, backend: Backend = "auto", threads: int = 1, batch_tokens: int = 4096) -> None:
        manifest, body = read_manifest(folder)
        files = {name: _checked(folder / name, digest) for name, digest in manifest.files.items()}
        self.name, self.version = manifest.name, manifest.version
        self.digest = hashlib.sha256(body).hexdigest()
        self.languages: Languages | None = manifest.languages or ONLY_HOME
        self.manifest, self.batch_tokens = manifest, batch_tokens
        self.backend = fastest() if backend == "auto" else backend
        self._windows = Windows(
            files[TOKENIZER].decode(), manifest.max_tokens, manifest.overlap_tokens, manifest.prompt_tokens
        )
        self._run = opened(files[MODEL], self.backend, threads)
        self._slopes = np.array([h.slope for h in manifest.heads.values()])
        self._intercepts = np.array([h.intercept for h in manifest.heads.values()])

    def covers(self, stage: Stage) -> frozenset[str]:
        return self.manifest.covers(stage)

    def judge(self, passages: Sequence[Passage]) -> list[Scores]:
        """Highest probability over the windows of each passage, for the categories that apply to its stage."""
        probabilities = sigmoid(self._slopes * self.logits(passages) + self._intercepts)
        return [Scores(self._applying(p.stage, row)) for p, row in zip(passages, probabilities, strict=True)]

    def logits(self, passages: Sequence[Passage]) -> NDArray[np.float64]:
        """Highest logit over windows, shape (passages, heads), before calibration."""
        worst = np.full((len(passages), len(self.manifest.heads)), -np.inf)
        for batch in batches(self._windows.cut(passages), self.batch_tokens):
            try:
                logits = self._run(pad(batch))
            except Exception as error:  # the runtimes raise bare RuntimeError and their own
                raise GuardError(f"{self.name}: inference failed: {type(error).__name__}") from error
            np.maximum.at(worst, [w.owner for w in batch], logits)
        if not np.isfinite(worst).all():
            raise GuardError(f"{self.name}: the model answered with numbers that are not finite")
        return worst

    def _applying(self, stage: Stage, row: NDArray[np.float64]) -> dict[str, float]:
        heads = zip(self.manifest.heads.items(), row, strict=True)
        return {category: float(p) for (category, head), p in heads if stage in head.stages}


def read_manifest(folder: Path) -> tuple[Manifest, bytes]:
    """`guard.json` of a folder, parsed and as bytes. Raises GuardError with what is wrong."""
    try:
        body = (folder / MANIFEST).read_bytes()
        manifest = Manifest.model_validate_json(body)
    except OSError as error:
        raise GuardError(f"{folder}: no guard here: {MANIFEST} cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise GuardError(f"{folder / MANIFEST}: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}") from error
    if unknown := manifest.heads.keys() - CATEGORIES.keys():
        raise GuardError(f"{folder / MANIFEST}: unknown categories {sorted(unknown)}; known: {sorted(CATEGORIES)}")
    if missing := {MODEL, TOKENIZER} - manifest.files.keys():
        raise GuardError(f"{folder / MANIFEST}: no digest given for {sorted(missing)}")
    return manifest, body


def _checked(path: Path, digest: str) -> bytes:
    """The bytes that are used are the bytes that were checked."""
    try:
        body = path.read_bytes()
    except OSError as error:
        raise GuardError(f"{path}: cannot be read ({error.strerror}); fetch the guard again") from error
    if (found := hashlib.sha256(body).hexdigest()) != digest:
        raise GuardError(f"{path}: sha256 is {found[:12]}, {MANIFEST} names {digest[:12]}; fetch the guard again")
    return body
