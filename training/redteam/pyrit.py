"""PyRIT's converters (Microsoft, MIT) over requests of ours; they run in an environment of their own."""

import argparse
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from training.redteam.search import Seed
from training.rows import DataError

RUNNER: Final = Path(__file__).with_name("pyrit_runner.py")
Step = tuple[Seed, str, str]  # a seed, the converter's name, its text


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--python", type=Path, required=True, help="of an environment where `pip install pyrit` ran")
    parser.add_argument("--converters", default="", help="by commas; else all that need nothing but a text")


def converted(given: argparse.Namespace, seeds: Sequence[Seed]) -> list[Step]:
    """What the converters make of the seeds. Raises DataError with what the other environment said."""
    names = [n.strip() for n in given.converters.split(",") if n.strip()]
    asked = {"names": names, "texts": [s.text for s in seeds], "seed": given.seed}
    found: list[dict[str, Any]] = json.loads(_said(given.python, json.dumps(asked)))
    if not found:
        raise DataError("no converter changed any of the requests")
    return [(seeds[one["nth"]], one["name"], one["text"]) for one in found]


def _said(python: Path, asked: str) -> str:
    try:
        command: list[Path | str] = [python, "-I", RUNNER]  # -I: what lies beside the runner is not what it imports
        done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
    except OSError as error:
        raise DataError(f"--python {python}: {error.strerror}") from error
    if done.returncode or not done.stdout.strip():
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise DataError(f"PyRIT in the environment of {python}: {last}")
    return str(done.stdout.strip().splitlines()[-1])
