"""Trains the default guard: sluicegate-train guard --recipe training/recipes/guard.yaml --out var/guard."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from random import Random

from training import recipe
from training.recipe import Recipe
from training.rows import Row, data_folder, read, take
from training.split import dedupe, split
from training.synthesize import SAMPLED, synthesize
from training.views import completed


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, calibrates, exports. After a kill, the same command goes on from the checkpoint."""
    options = _options().parse_args(argv)
    made_by = recipe.load(options.recipe)
    from training.build_guard import build, prepare_torch

    prepare_torch(options.threads)
    parts = gather(made_by)
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"{len(parts['train'])} rows to train on, {len(parts['validation'])} to validate", flush=True)
    build(made_by, parts, options.out)
    print(f"done: {options.out}", flush=True)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sluicegate-train guard", description=__doc__)
    parser.add_argument("--recipe", type=Path, default=Path(__file__).with_name("recipes") / "guard.yaml")
    parser.add_argument("--out", type=Path, required=True, help="folder for the guard, its metrics and checkpoint")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch decides")
    return parser


def gather(made_by: Recipe, without: str = "") -> dict[str, list[Row]]:
    """Rows of the recipe, deduped and split. `without` leaves one source out."""
    rows = read(sorted((data_folder() / "train").glob("*.jsonl*")), made_by.licenses)
    rows = [completed(r, made_by.implied, made_by.assumed) for r in rows]
    rows += synthesize(made_by.machine_rows, made_by.seed) + read(SAMPLED, made_by.licenses)
    most = {source: n for source, n in made_by.sources.items() if source != without}
    chosen = take(rows, most, Random(made_by.seed))
    return split(dedupe(chosen), dict(made_by.shares), made_by.seed)


if __name__ == "__main__":
    main()
