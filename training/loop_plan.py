"""When the loop learns again and from what: one YAML file, checked before anything starts."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from guards.document import Strict
from guards.taxonomy import CATEGORIES
from training import document
from training.rows import DataError


class Gating(Strict):
    """Sets by the use they are put to; `data:` is below SLUICEGATE_DATA. The recent one is the dataset's own."""

    thresholds: Path
    frozen: dict[str, str] = Field({})
    benign: dict[str, str] = Field({})
    bias: dict[str, str] = Field({})
    most: Annotated[int, Field(ge=1)] = 1200


class Shadow(Strict):
    """How long a candidate judges beside, and how often it must then agree with the guard in force."""

    exchanges: Annotated[int, Field(ge=1)] = 200
    least_agreement: Annotated[float, Field(ge=0, le=1)] = 0.7


class Drift(Strict):
    """The frozen window, and how many days up to now are held against it."""

    reference: Path | None = None
    days: Annotated[float, Field(gt=0)] = 1.0


class Plan(Strict):
    """`ok_means`: categories that a reviewer's `ok` denies beside harm. `weight`: of a reviewed row.

    `replay`: most old rows to train on; all of those to validate on stay, since operating points hang on them.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    serving: Path
    train: Path
    dataset: dict[str, Any] = Field({})
    enough: Annotated[int, Field(ge=1)]
    replay: Annotated[int, Field(ge=0)] = 3000
    weight: Annotated[float, Field(gt=0)] = 1.0
    ok_means: tuple[str, ...] = ()
    gates: Gating
    shadow: Shadow = Shadow()
    drift: Drift = Drift()

    @property
    def registry(self) -> Path:
        """`SLUICEGATE_REGISTRY`, by default `registry` in SLUICEGATE_HOME."""
        home = Path(os.environ.get("SLUICEGATE_HOME") or "var")
        return Path(os.environ.get("SLUICEGATE_REGISTRY") or home / "registry")


def load(path: Path) -> Plan:
    """Raises DataError that lists every fault."""
    plan = document.load(Plan, path)
    if unknown := set(plan.ok_means) - CATEGORIES.keys():
        raise DataError(f"{path}: ok_means: unknown categories {sorted(unknown)}")
    return plan
