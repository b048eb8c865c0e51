"""A guard from rows: fine-tuned, finished, exported, compared with what was exported, calibrated."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from guards.calibration import Floats, sigmoid
from guards.classifier import MODEL, TOKENIZER, Head
from training import encoder, finish
from training.calibrate import calibrate, write_manifest
from training.encode import Encoded, encode, guard_tokenizer
from training.export_guard import export, said, said_by
from training.fit_guard import fit
from training.network import GuardNetwork, from_encoder, from_onnx
from training.recipe import Export, Finish, Recipe
from training.rows import DataError, Row
from training.views import with_views
from training.wide import VOCABULARY

COMPARED: Final = 200  # held-back texts that the exported guard and the trained one both judge


def prepare_torch(threads: int = 0) -> None:
    torch.set_flush_denormal(True)  # AdamW's tiny moments are slow otherwise
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # no operation here reads what it has not written
    if threads:
        torch.set_num_threads(threads)


def build(made_by: Recipe, parts: dict[str, list[Row]], out: Path, about: str = "") -> dict[str, Any]:
    """A guard in folder `out` from the rows of `parts` (those that label category `about`), and its figures."""
    network, tokenizer_json, architecture = begin(made_by)
    data = encoded(parts["train"], made_by.seed, made_by, tokenizer_json, about)
    held = encoded(parts["validation"], made_by.seed + 1, made_by, tokenizer_json, about)
    before = finish.encoder_of(network)
    metrics: dict[str, Any] = {"recipe": made_by.digest, **fit(network, data, held, made_by, out)}
    metrics |= {"rows": count(parts), "with_views": len(data.windows)}
    if made_by.finish:
        sides = data.decided(), held.decided()
        metrics["shares"] = complete(network, before, *sides, made_by.finish, list(made_by.heads))
    (out / TOKENIZER).write_text(tokenizer_json, encoding="utf-8")
    compared = held.windows[:COMPARED]
    wanted = said(network, compared)
    metrics["export"] = export(network, out / MODEL, made_by.export or Export())
    heads, figures = calibrate(out, made_by, parts["validation"], about)
    metrics["export"] |= moved(wanted, said_by(out / MODEL, compared), list(heads.values()))
    write_manifest(out, made_by, heads, architecture, figures.pop("languages"))
    metrics |= figures
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    return metrics


def moved(trained: Floats, exported: Floats, heads: Sequence[Head]) -> dict[str, Any]:
    """By how much export changed logits and scores at most, both of shape (texts, heads)."""
    slopes, intercepts = np.array([(h.slope, h.intercept) for h in heads]).T
    scores = [sigmoid(slopes * logits + intercepts) for logits in (trained, exported)]
    furthest = {"logit": np.abs(trained - exported).max(), "score": np.abs(scores[0] - scores[1]).max()}
    return {"texts": len(trained), "furthest": {name: float(f"{value:.2g}") for name, value in furthest.items()}}


def encoded(rows: Sequence[Row], seed: int, made_by: Recipe, tokenizer_json: str, about: str = "") -> Encoded:
    """Rows and their views as token ids; those that label category `about`, or all."""
    seen = [r for r in with_views(rows, seed) if not about or about in r.labels]
    longest, heads, loss = made_by.train_tokens or made_by.max_tokens, list(made_by.heads), made_by.loss
    votes = loss is not None and loss.targets == "votes"
    found = encode(seen, tokenizer_json, heads, longest, made_by.prompt_tokens, votes=votes)
    classes = np.array([loss.classes.get(h, 1.0) if loss else 1.0 for h in heads], np.float32)
    return replace(found, weights=np.where(found.labels > 0.5, classes, 1) * found.weights)


def complete(
    network: GuardNetwork, before: dict[str, Tensor], data: Encoded, held: Encoded, how: Finish, heads: list[str]
) -> list[tuple[float, float]]:
    """Everything after fine-tuning; returns what the deep and the lexical part weigh in each head."""
    finish.go_back(network, before, how.kept)
    finish.refit(network, data, how.head_c)
    return finish.widen(network, data, held, how.wide_c, [how.wide_share.get(h, 1.0) for h in heads])


def count(parts: dict[str, list[Row]]) -> dict[str, dict[str, int]]:
    """Rows by part and source."""
    return {
        part: {s: sum(r.source == s for r in rows) for s in sorted({r.source for r in rows})}
        for part, rows in parts.items()
    }


def begin(made_by: Recipe) -> tuple[GuardNetwork, str, dict[str, Any]]:
    """The untrained network, its tokenizer and its architecture.

    Raises:
        DataError: the encoder cannot be had, or does not fit the recipe.
    """
    torch.manual_seed(made_by.seed)
    start, heads = made_by.start, list(made_by.heads)
    name = str(start.guard or start.encoder or encoder.fetch(str(start.package)))
    if start.guard:
        architecture, stored = encoder.of_guard(start.guard, start.layers)
        network = from_onnx(start.guard / MODEL, architecture, stored, heads)
        network.wide = None if made_by.finish else network.wide  # it will be fitted anew
    else:
        architecture = encoder.architecture(name, start.layers)
        network = from_encoder(name, architecture, len(heads))
    config = network.encoder.config
    if made_by.max_tokens > config.max_position_embeddings:
        raise DataError(f"max_tokens: this encoder reads {config.max_position_embeddings} tokens at most")
    if made_by.finish and config.vocab_size > VOCABULARY:
        raise DataError(f"finish: the lexical part is for vocabularies of at most {VOCABULARY}: leave it out here")
    return network, guard_tokenizer(encoder.tokenizer(name)), architecture
