"""What a guard is trained from and how: one YAML file, checked before anything starts."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from guards.document import Strict
from guards.taxonomy import CATEGORIES
from training import document
from training.rows import LICENSES

Share = Annotated[float, Field(gt=0, lt=1)]


class Start(Strict):
    """Where the encoder's weights come from: a pinned package that carries them, or a guard to go on from."""

    package: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9._-]+$")
    guard: Path | None = None
    layers: Annotated[int, Field(ge=1, le=24)] | None = None  # the first ones only: for tests

    @model_validator(mode="after")
    def _one_of(self) -> "Start":
        if (self.package is None) == (self.guard is None):
            raise ValueError("give either `package` or `guard`")
        return self


class Finish(Strict):
    """What follows fine-tuning; see `training/finish.py`."""

    kept: Annotated[float, Field(gt=0, le=1, description="share of fine-tuning's changes that stays")]
    head_c: Annotated[float, Field(gt=0, description="inverse penalty of the heads' logistic regression")]
    wide_c: Annotated[float, Field(gt=0, description="the same of the lexical part")]
    wide_share: dict[str, Annotated[float, Field(gt=0, le=4)]] = Field(
        {}, description="times what held-out rows give it"
    )


class Everyday(Strict):
    """Rows that are asked and said every day, and the share of them that may lie at or above .5."""

    sources: tuple[str, ...]
    fpr: Share


class Recipe(Strict):
    """Same recipe and data, same guard."""

    name: str
    version: str
    seed: int
    licenses: frozenset[str]
    heads: dict[str, tuple[Literal["input", "output"], ...]]
    start: Start
    sources: dict[str, Annotated[int, Field(ge=0)]]
    machine_rows: Annotated[int, Field(ge=0)] = 0
    shares: dict[str, Share]
    max_tokens: Annotated[int, Field(ge=32, le=512, description="of one window of the guard")]
    train_tokens: (
        Annotated[int, Field(ge=32, le=512, description="of a training text; as max_tokens if not given")] | None
    ) = None
    overlap_tokens: Annotated[int, Field(ge=0)]
    prompt_tokens: Annotated[int, Field(ge=0)]
    epochs: Annotated[float, Field(gt=0)]
    batch_tokens: Annotated[int, Field(ge=512)]
    lr: Annotated[float, Field(gt=0, le=1e-4, description="from 2e-4 on, MiniLM collapses without a sound")]
    head_lr: Annotated[float, Field(gt=0, le=1e-2)]
    warmup: Share
    weight_decay: Annotated[float, Field(ge=0)]
    frozen: tuple[str, ...] = ()
    checkpoint_s: Annotated[float, Field(gt=0)]
    finish: Finish | None = None
    operating_fpr: dict[str, Share]
    everyday: Everyday | None = None
    implied: dict[str, str] = Field({})
    assumed: dict[str, dict[str, Literal[0, 1]]] = Field({})

    @model_validator(mode="after")
    def _known(self) -> "Recipe":
        if unknown := self.heads.keys() - CATEGORIES.keys():
            raise ValueError(f"heads: unknown categories {sorted(unknown)}; known: {sorted(CATEGORIES)}")
        if self.shares.keys() != {"train", "validation"}:
            raise ValueError("shares: one of train and one of validation")
        if strange := (self.operating_fpr.keys() ^ self.heads.keys()) | (
            {*self.implied.values(), *(self.finish.wide_share if self.finish else ())} - self.heads.keys()
        ):
            raise ValueError(f"operating_fpr, implied and wide_share speak of the heads, each once: {sorted(strange)}")
        if barred := self.licenses - LICENSES:
            raise ValueError(f"licenses: {sorted(barred)} may not enter shipped weights; allowed: {sorted(LICENSES)}")
        return self

    @cached_property
    def digest(self) -> str:
        left_out: dict[str, Any] = {n: True for n in ("train_tokens", "finish", "everyday") if getattr(self, n) is None}
        if self.finish and not self.finish.wide_share:
            left_out["finish"] = {"wide_share"}
        body = self.model_dump(mode="json", exclude=left_out) | {"licenses": sorted(self.licenses)}
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def load(path: Path) -> Recipe:
    """A recipe from a file. Raises DataError that lists every fault."""
    return document.load(Recipe, path)
