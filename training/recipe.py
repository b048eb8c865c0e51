"""What a guard is trained from and how: one YAML file, checked before anything starts."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from guards.document import Strict
from guards.taxonomy import CATEGORIES
from training import document
from training.llm.recipe import Lora
from training.rows import LICENSES

ADDED: Final = ("train_tokens", "finish", "everyday", "lora", "loss", "stop", "export")  # after the first digests
Share = Annotated[float, Field(gt=0, lt=1)]


class Start(Strict):
    """Where the encoder's weights come from: a pinned package, Hugging Face's form, or a guard to go on from."""

    package: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9._-]+$")
    guard: Path | None = None
    encoder: str | None = Field(None, description="folder or hub id of any encoder in Hugging Face's form")
    layers: Annotated[int, Field(ge=1, le=24)] | None = None  # the first ones only: for tests

    @model_validator(mode="after")
    def _one_of(self) -> "Start":
        if sum(x is not None for x in (self.package, self.guard, self.encoder)) != 1:
            raise ValueError("give either `package`, `encoder` or `guard`")
        return self


class Finish(Strict):
    """What follows fine-tuning; see `training/finish.py`."""

    kept: Annotated[float, Field(gt=0, le=1, description="share of fine-tuning's changes that stays")]
    head_c: Annotated[float, Field(gt=0, description="inverse penalty of the heads' logistic regression")]
    wide_c: Annotated[float, Field(gt=0, description="the same of the lexical part")]
    wide_share: dict[str, Annotated[float, Field(gt=0, le=4)]] = Field(
        {}, description="times what held-out rows give it"
    )


class Loss(Strict):
    """How the error of an example counts. What is not named: cross entropy, both labels of a head alike.

    Focal loss: Lin et al. 2017; over shares of votes as Li et al. 2020 have it. Weights by the softmax of the losses in
    a batch: Li et al., Tilted Empirical Risk Minimization, 2021.
    """

    gamma: Annotated[float, Field(ge=0, le=5, description="focal: the error to this power; 0: none")] = 0.0
    tilt: Annotated[float, Field(ge=0, le=10, description="an example counts as softmax(tilt * loss); 0: alike")] = 0.0
    classes: dict[str, Annotated[float, Field(gt=0, le=16)]] = Field(
        {}, description="times that, for rows of a head's label 1"
    )
    targets: Literal["majority", "votes"] = Field("majority", description="votes: the share of reviewers that said so")


class Stop(Strict):
    """Ends when held-back rows are no better for it, and keeps the weights that they liked best."""

    looks: Annotated[int, Field(ge=2, description="in the whole run, evenly")] = 10
    patience: Annotated[int, Field(ge=1, description="looks that may be no better")] = 2
    rows: Annotated[int, Field(ge=32, description="held-back rows looked at, at most")] = 2000


class Export(Strict):
    """What is written. Zeros make a file smaller once it is compressed, not faster."""

    weights: Literal["float32", "float16", "int8"] = "float16"
    prune: Annotated[float, Field(ge=0, lt=1, description="share of each linear layer, the smallest, set to 0")] = 0.0


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
    lr: Annotated[float, Field(gt=0, le=1e-2)]
    head_lr: Annotated[float, Field(gt=0, le=1e-2)]
    warmup: Share
    weight_decay: Annotated[float, Field(ge=0)]
    frozen: tuple[str, ...] = ()
    lora: Lora | None = Field(None, description="adapters in place of whole weights; merged before export")
    loss: Loss | None = None
    stop: Stop | None = None
    checkpoint_s: Annotated[float, Field(gt=0)]
    finish: Finish | None = None
    export: Export | None = None
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
        named = {*self.implied.values(), *(self.finish.wide_share if self.finish else ())}
        named |= {*(self.loss.classes if self.loss else ())}
        if strange := (self.operating_fpr.keys() ^ self.heads.keys()) | (named - self.heads.keys()):
            raise ValueError(f"operating_fpr, implied, wide_share and classes speak of the heads: {sorted(strange)}")
        if self.lr > 1e-4 and not self.lora:
            raise ValueError("lr: at most 1e-4 for whole weights: from 2e-4 on, MiniLM collapses without a sound")
        if self.lora and self.lora.bits:
            raise ValueError("lora: `bits` is for language models; a guard's encoder is small")
        if barred := self.licenses - LICENSES:
            raise ValueError(f"licenses: {sorted(barred)} may not enter shipped weights; allowed: {sorted(LICENSES)}")
        return self

    @cached_property
    def digest(self) -> str:
        left_out: dict[str, Any] = {n: True for n in ADDED if getattr(self, n) is None}
        left_out |= {} if self.start.encoder else {"start": {"encoder"}}
        if self.finish and not self.finish.wide_share:
            left_out["finish"] = {"wide_share"}
        body = self.model_dump(mode="json", exclude=left_out) | {"licenses": sorted(self.licenses)}
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def load(path: Path) -> Recipe:
    """A recipe from a file. Raises DataError that lists every fault."""
    return document.load(Recipe, path)
