"""How good a guard is: by source on held-out rows, or on a source it never saw, beside a lexical baseline.

sluicegate-train evaluate-guard --guard guards/models/default
sluicegate-train evaluate-guard --leave-source-out WildGuardTrainR --recipe training/recipes/guard_loso.yaml
"""

import argparse
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from guards.calibration import Floats
from guards.classifier import Classifier
from training import recipe, train_guard
from training.baseline import Baseline
from training.calibrate import fit_head
from training.metrics import compare, measure
from training.recipe import Recipe
from training.rows import DataError, Row, data_folder, read
from training.split import dedupe, family
from training.views import with_views

RESULTS: Final = Path("bench/results/guard_loso.json")
LEFT_OUT: Final[Mapping[str, str]] = {
    "WildGuardTrainR": "harm",
    "AegisTrainR": "harm",
    "deepset_train": "injection",
    "toxigen_human": "hate",
    "pyrit_harm": "response_harm",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a table, writes JSON."""
    options = _options().parse_args(argv)
    made_by = recipe.load(options.recipe)
    if not options.leave_source_out:
        guards = {"guard": options.guard} | ({"against": options.against} if options.against else {})
        figures = by_source(guards, made_by, options.floor)
        print(json.dumps(figures, indent=1))
        if options.json:
            write(options.json, figures)
        return
    from training.build_guard import prepare_torch  # here, as figures of a guard need no torch

    prepare_torch()
    for source in LEFT_OUT if options.leave_source_out == ["all"] else options.leave_source_out:
        figures = leave_out(source, made_by, options.work / source)
        keep(options.json or RESULTS, source, made_by, figures)
        print(f"{source}: {json.dumps(figures)}", flush=True)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sluicegate-train evaluate-guard", description=__doc__)
    parser.add_argument("--guard", type=Path, default=Path("guards/models/default"))
    parser.add_argument("--against", type=Path, help="folder of another guard, judged on the same rows")
    parser.add_argument("--floor", action="store_true", help="train the lexical baseline on the recipe's rows, too")
    parser.add_argument("--recipe", type=Path, default=Path(__file__).with_name("recipes") / "guard.yaml")
    parser.add_argument("--leave-source-out", nargs="+", default=[], help="sources, or `all`")
    parser.add_argument("--work", type=Path, default=Path("var/loso"), help="folder for the guards trained here")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser


def by_source(guards: Mapping[str, Path], made_by: Recipe, floor: bool) -> dict[str, Any]:
    """Figures of each guard, head and source of the recipe's validation part that has ten rows of both labels.

    With `floor` those of the lexical baseline too, trained on the recipe's training rows and calibrated as the guard.
    """
    parts = train_guard.gather(made_by)
    rows = parts["validation"]
    scores = {name: _guard_by_head(folder, rows, made_by) for name, folder in guards.items()}
    if floor:
        scores["floor"] = {c: _baseline_scores(rows, c, made_by, parts, with_prompt=False) for c in made_by.heads}
    found: dict[str, Any] = {}
    for category, stages in made_by.heads.items():
        known = np.array([category in r.labels and r.passage.stage in stages for r in rows])
        labels = np.array([r.labels.get(category, 0) for r in rows])
        for source in ["all", *sorted({r.source for r in rows})]:
            part = known & np.array([source in ("all", r.source) for r in rows])
            if min(labels[part].sum(), (1 - labels[part]).sum()) >= 10:
                judged = {name: by_head[category][part] for name, by_head in scores.items()}
                found.setdefault(category, {})[source] = _side_by_side(judged, labels[part])
    return found


def _side_by_side(judged: Mapping[str, Floats], labels: NDArray[np.int64]) -> dict[str, Any]:
    found: dict[str, Any] = {name: measure(scores, labels, draws=200) for name, scores in judged.items()}
    if "against" in judged:
        found["difference"] = compare(judged["guard"], judged["against"], labels, draws=200)
    return found


def _guard_by_head(folder: Path, rows: Sequence[Row], made_by: Recipe) -> dict[str, Floats]:
    scores = Classifier(folder, threads=2, batch_tokens=8192).judge([r.passage for r in rows])
    return {c: np.array([s.by_category.get(c, 0.0) for s in scores]) for c in made_by.heads}


def leave_out(source: str, made_by: Recipe, work: Path) -> dict[str, Any]:
    """Trains guard and baselines on the same rows, none of `source`, and tests them on it.

    The rows are those that carry a label of the source's category, views included. Texts that other sources share
    are not tested.

    Of two baselines (the judged text alone, prompt and text) the one that does better on the test counts; `same_input`
    is the difference to the one that reads both, as the guard does.
    """
    if source not in LEFT_OUT:
        raise DataError(f"{source} is not among the sources to leave out: {sorted(LEFT_OUT)}")
    category = LEFT_OUT[source]
    parts = train_guard.gather(made_by, without=source)
    known = {family(r) for rows in parts.values() for r in rows}
    everything = read(sorted((data_folder() / "train").glob("*.jsonl*")), made_by.licenses)
    tested = [r for r in dedupe(everything) if r.source == source and category in r.labels and family(r) not in known]
    labels = np.array([r.labels[category] for r in tested])
    ours = _guard_scores(tested, category, made_by, parts, work)
    baselines = [_baseline_scores(tested, category, made_by, parts, read_prompt) for read_prompt in (False, True)]
    theirs = max(baselines, key=lambda scores: float(measure(scores, labels, draws=2)["auprc"]["value"]))
    return {
        "category": category,
        "guard": measure(ours, labels),
        "baseline": measure(theirs, labels),
        "difference": compare(ours, theirs, labels),
        "same_input": compare(ours, baselines[True], labels),
        "train_rows": len(_labelled(with_views(parts["train"], made_by.seed), category, made_by)[0]),
    }


def _guard_scores(
    tested: Sequence[Row], category: str, made_by: Recipe, parts: dict[str, list[Row]], work: Path
) -> Floats:
    work.mkdir(parents=True, exist_ok=True)
    from training.build_guard import build

    build(made_by, parts, work, about=category)
    scores = Classifier(work, threads=2, batch_tokens=8192).judge([r.passage for r in tested])
    return np.array([s.by_category[category] for s in scores])


def _baseline_scores(
    tested: Sequence[Row], category: str, made_by: Recipe, parts: dict[str, list[Row]], with_prompt: bool
) -> Floats:
    """Calibrated like the guard: on the same validation rows, with .5 at the same operating point."""
    rows, labels = _labelled(with_views(parts["train"], made_by.seed), category, made_by)
    baseline = Baseline(with_prompt).fit(rows, labels)
    held, held_labels = _labelled(with_views(parts["validation"], made_by.seed + 1), category, made_by)
    platt, _ = fit_head(baseline.logits(held), held_labels, made_by.operating_fpr[category])
    return platt(baseline.logits(tested))


def _labelled(rows: Sequence[Row], category: str, made_by: Recipe) -> tuple[list[Row], NDArray[np.int64]]:
    known = [r for r in rows if category in r.labels and r.passage.stage in made_by.heads[category]]
    return known, np.array([r.labels[category] for r in known])


def keep(path: Path, source: str, made_by: Recipe, figures: dict[str, Any]) -> None:
    """Puts the figures of one source into the results file beside the others."""
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    command = f"sluicegate-train evaluate-guard --leave-source-out {source} --recipe training/recipes/guard_loso.yaml"
    results[source] = figures | {"command": command, "recipe": made_by.digest, "revision": revision()}
    write(path, results)


def revision() -> str:
    """The commit, with a `+` when files differ from it; `unknown` where there is no repository."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def write(path: Path, figures: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
