"""Options that all training verbs share."""

import argparse
from pathlib import Path

RECIPES = Path(__file__).parents[1] / "recipes"


def options(verb: str, about: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"sluicegate-train {verb}", description=about)
    parser.add_argument("--recipe", type=Path, default=RECIPES / f"{verb}.yaml", help="see docs/llm.md")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, metrics.json and lineage.json")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch decides")
    return parser
