"""Small real guards in a registry, the same store on both databases, and a service that looks at the registry."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from guards.classifier import MANIFEST, MODEL, TOKENIZER
from service.ledger.ledger import open_store
from service.settings import Settings
from tests import models
from tests.store.conftest import postgres, running, settings, store  # noqa: F401  the same store on both databases

PROVE = bool(os.environ.get("SLUICEGATE_PROVE"))
LOUD = 16.0


def guard_folder(folder: Path, words: dict[str, str], version: str = "1", slope: float = 1.0) -> str:
    """A classifier as training writes it, which finds one word of each category; the digest of its weights."""
    labels = list(words)
    table = {word: [LOUD * (label == name) for label in labels] for name, word in words.items()}
    models.write(folder, labels, table, [-LOUD / 2] * len(labels))
    (folder / "config.json").unlink()
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (MODEL, TOKENIZER)}
    heads = {name: {"stages": ["input", "output"], "slope": slope} for name in labels}
    sizes = {"max_tokens": 64, "overlap_tokens": 8, "prompt_tokens": 8}
    manifest = {"name": "any", "version": version, "heads": heads, "files": files} | sizes
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return files[MODEL]


@pytest.fixture
async def local(tmp_path):
    """A store of its own on SQLite, for what does not differ by database."""
    embedded = open_store(Settings(home=tmp_path))
    await embedded.ready()
    yield embedded
    await embedded.close()
