"""Scores that mean probabilities: Platt scaling on held-out rows, with .5 at the operating point.

Held-out texts are judged as the gate judges them: long ones in windows of which the highest counts, pieces and
openings of texts as a stream shows them (the views), answers after their prompts.
"""

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
from guards.language import LanguageGuard, code_of
from training import recipe, train_guard
from training.recipe import Recipe
from training.rows import Row
from training.views import with_views


def main(argv: Sequence[str] | None = None) -> None:
    """Calibrates a trained guard anew: other operating points or windows, the same weights."""
    parser = argparse.ArgumentParser(prog="sluicegate-train calibrate", description=__doc__)
    parser.add_argument("--recipe", type=Path, default=Path(__file__).with_name("recipes") / "guard.yaml")
    parser.add_argument("--guard", type=Path, required=True, help="folder of the guard; its guard.json is replaced")
    options = parser.parse_args(argv)
    made_by = recipe.load(options.recipe)
    architecture = read_manifest(options.guard)[0].architecture
    heads, figures = calibrate(options.guard, made_by, train_guard.gather(made_by)["validation"])
    write_manifest(options.guard, made_by, heads, architecture, figures["languages"])
    print(json.dumps(figures, indent=1))


def calibrate(
    folder: Path, made_by: Recipe, rows: Sequence[Row], about: str = ""
) -> tuple[dict[str, Head], dict[str, Any]]:
    """Heads with their calibration, and figures of each, from validation rows and views (that label `about`)."""
    write_manifest(folder, made_by, {c: Head(stages=s) for c, s in made_by.heads.items()}, {}, {})
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
        least = _least(made_by, [r for r, k in zip(rows, known, strict=True) if k], logits[known, nth], labels)
        platt, figures[category] = fit_head(logits[known, nth], labels, made_by.operating_fpr[category], least)
        heads[category] = Head(stages=stages, slope=platt.slope, intercept=platt.intercept)
    return heads, {"calibration": figures, "languages": recall_by_language(heads, rows, logits)}


def _least(made_by: Recipe, rows: Sequence[Row], logits: Floats, labels: NDArray[Any]) -> float:
    """The logit that the allowed share of everyday negatives exceeds; minus infinity where the recipe has no such."""
    if made_by.everyday is None:
        return -np.inf
    everyday = logits[(labels == 0) & np.array([r.source in made_by.everyday.sources for r in rows])]
    return float(np.quantile(everyday, 1 - made_by.everyday.fpr)) if len(everyday) else -np.inf


def fit_head(
    logits: Floats, labels: NDArray[Any], operating_fpr: float, least: float = -np.inf
) -> tuple[Platt, dict[str, float]]:
    """Platt scaling, then a shift so that `operating_fpr` of the negatives lie at or above .5, or fewer.

    Args:
        least: the operating point is not below this logit.
    """
    platt = fit_platt(logits, labels)
    operating = max(least, float(np.quantile(logits[labels == 0], 1 - operating_fpr)))
    shifted = platt.shifted(operating)
    return shifted, {
        "rows": len(labels),
        "positive": int(labels.sum()),
        "ece_raw": round(calibration_error(sigmoid(logits), labels), 4),
        "ece_platt": round(calibration_error(platt(logits), labels), 4),
        "ece_shifted": round(calibration_error(shifted(logits), labels), 4),
        "probability_at_half": round(float(platt(operating)), 4),
        "recall_at_half": round(float((shifted(logits)[labels == 1] >= 0.5).mean()), 4),
        "false_positives_at_half": round(float((shifted(logits)[labels == 0] >= 0.5).mean()), 4),
    }


def recall_by_language(
    heads: Mapping[str, Head], rows: Sequence[Row], logits: Floats, fewest: int = 15
) -> dict[str, dict[str, float]]:
    """Share of the positive rows at or above .5, by language and category, where there are at least `fewest`."""
    spoken = LanguageGuard().judge([r.passage for r in rows])
    languages = np.array([max(s.by_category, key=s.by_category.__getitem__, default="") for s in spoken])
    found: dict[str, dict[str, float]] = {}
    for nth, (category, head) in enumerate(heads.items()):
        positive = np.array([r.labels.get(category) == 1 and r.passage.stage in head.stages for r in rows])
        flagged = head.slope * logits[:, nth] + head.intercept >= 0
        for language in sorted({*languages} - {""}):
            counted = positive & (languages == language)
            if counted.sum() >= fewest:
                found.setdefault(code_of(language), {})[category] = round(float(flagged[counted].mean()), 4)
    return found


def fit_platt(logits: Floats, labels: NDArray[Any]) -> Platt:
    """Slope and intercept of highest likelihood. Needs both labels, raises ValueError otherwise."""
    fitted = LogisticRegression(C=1e6, max_iter=1000).fit(logits.reshape(-1, 1), labels)
    return Platt(max(float(fitted.coef_[0, 0]), 1e-3), float(fitted.intercept_[0]))


def write_manifest(
    folder: Path,
    made_by: Recipe,
    heads: Mapping[str, Head],
    architecture: Mapping[str, Any],
    languages: Mapping[str, Mapping[str, float]],
) -> None:
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
        "languages": dict(languages),
        "architecture": dict(architecture),
        "training": {
            "recipe": made_by.digest,
            "seed": made_by.seed,
            "start": str(made_by.start.package or made_by.start.guard),
        },
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
