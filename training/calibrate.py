"""Scores that mean probabilities: Platt scaling on held-out rows, with .5 at the operating point."""

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from guards.calibration import Floats, Platt, calibration_error, sigmoid
from guards.classifier import MANIFEST, MODEL, TOKENIZER, Classifier, Head, read_manifest
from training import recipe
from training.recipe import Recipe
from training.rows import Row
from training.views import with_views


def main(argv: Sequence[str] | None = None) -> None:
    """Calibrates a trained guard anew: other operating points or windows, the same weights."""
    from training import train_guard  # which calls us

    parser = argparse.ArgumentParser(prog="sluicegate-train calibrate", description=__doc__)
    parser.add_argument("--recipe", type=Path, default=Path(__file__).with_name("recipes") / "guard.yaml")
    parser.add_argument("--guard", type=Path, required=True, help="folder of the guard; its guard.json is replaced")
    options = parser.parse_args(argv)
    made_by = recipe.load(options.recipe)
    architecture = read_manifest(options.guard)[0].architecture
    heads, figures = calibrate(options.guard, made_by, train_guard.gather(made_by)["validation"])
    write_manifest(options.guard, made_by, heads, architecture)
    print(json.dumps(figures, indent=1))


def calibrate(
    folder: Path, made_by: Recipe, rows: Sequence[Row], about: str = ""
) -> tuple[dict[str, Head], dict[str, Any]]:
    """Heads with their calibration, and figures of each, from validation rows and views (that label `about`)."""
    write_manifest(folder, made_by, {c: Head(stages=s) for c, s in made_by.heads.items()}, {})
    seen = [r for r in with_views(rows, made_by.seed + 1) if not about or about in r.labels]
    logits = Classifier(folder, threads=2, batch_tokens=8192).logits([r.passage for r in seen])
    return fit_heads(made_by, seen, logits)


def fit_heads(made_by: Recipe, rows: Sequence[Row], logits: Floats) -> tuple[dict[str, Head], dict[str, Any]]:
    """The same from logits of shape (rows, heads)."""
    heads: dict[str, Head] = {}
    figures: dict[str, Any] = {}
    for nth, (category, stages) in enumerate(made_by.heads.items()):
        known = np.array([category in r.labels and r.passage.stage in stages for r in rows])
        labels = np.array([r.labels.get(category, 0) for r in rows])[known]
        if len(set(labels.tolist())) < 2:
            print(f"{category}: no validation rows of both labels, left uncalibrated", flush=True)
            heads[category] = Head(stages=stages)
            continue
        platt, figures[category] = fit_head(logits[known, nth], labels, made_by.operating_fpr[category])
        heads[category] = Head(stages=stages, slope=platt.slope, intercept=platt.intercept)
    return heads, {"calibration": figures}


def fit_head(logits: Floats, labels: NDArray[Any], operating_fpr: float) -> tuple[Platt, dict[str, float]]:
    """Platt scaling, then a shift so that `operating_fpr` of the negatives lie at or above .5."""
    platt = fit_platt(logits, labels)
    operating = float(np.quantile(logits[labels == 0], 1 - operating_fpr))
    shifted = platt.shifted(operating)
    return shifted, {
        "rows": len(labels),
        "positive": int(labels.sum()),
        "ece_raw": round(calibration_error(sigmoid(logits), labels), 4),
        "ece_platt": round(calibration_error(platt(logits), labels), 4),
        "ece_shifted": round(calibration_error(shifted(logits), labels), 4),
        "recall_at_half": round(float((shifted(logits)[labels == 1] >= 0.5).mean()), 4),
        "false_positives_at_half": round(float((shifted(logits)[labels == 0] >= 0.5).mean()), 4),
    }


def fit_platt(logits: Floats, labels: NDArray[Any]) -> Platt:
    """Slope and intercept of highest likelihood. Needs both labels, raises ValueError otherwise."""
    fitted = LogisticRegression(C=1e6, max_iter=1000).fit(logits.reshape(-1, 1), labels)
    return Platt(max(float(fitted.coef_[0, 0]), 1e-3), float(fitted.intercept_[0]))


def write_manifest(folder: Path, made_by: Recipe, heads: Mapping[str, Head], architecture: Mapping[str, Any]) -> None:
    """`guard.json` over the files that are in `folder` now."""
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (MODEL, TOKENIZER)}
    manifest = {
        "name": made_by.name,
        "version": made_by.version,
        "heads": {c: h.model_dump(mode="json") for c, h in heads.items()},
        "max_tokens": made_by.max_tokens,
        "overlap_tokens": made_by.overlap_tokens,
        "prompt_tokens": made_by.prompt_tokens,
        "files": digests,
        "architecture": dict(architecture),
        "training": {
            "recipe": made_by.digest,
            "seed": made_by.seed,
            "start": str(made_by.start.package or made_by.start.guard),
        },
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
