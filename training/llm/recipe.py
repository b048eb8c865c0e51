"""What an LLM is trained from and how: one YAML file a verb, checked before anything is loaded."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from guards.document import Strict
from training.rows import LICENSES, DataError

Positive = Annotated[int, Field(ge=1)]
PRIVATE = "private"  # the service's own reviewed traffic: for weights that stay with it


class Source(Strict):
    """Files of dialogues, pairs or texts, in the forms of `training/llm/dialogues.py`; or a version of a dataset.

    A version brings its own split and goes into the lineage by its digest; its texts are read from its feeds.
    """

    file: str | None = Field(None, description="name or pattern, below SLUICEGATE_DATA unless it begins with / or .")
    dataset: str | None = Field(None, description="NAME@VERSION of the registry, or its folder")
    feeds: tuple[str, ...] = Field((), description="where the texts of `dataset` are now, if not where they were")
    license: str | None = Field(None, description="of rows that do not say it themselves")
    most: Positive | None = Field(None, description="rows drawn at random from those there are")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.file is None) == (self.dataset is None):
            raise ValueError("give either `file` or `dataset`")
        return self

    @property
    def name(self) -> str:
        return self.file or str(self.dataset)


class Lora(Strict):
    """Low-rank adapters (Hu et al. 2021); with `bits` on a quantised base (QLoRA, Dettmers et al. 2023)."""

    r: Annotated[int, Field(ge=1, le=512)] = 16
    alpha: Annotated[float, Field(gt=0)] = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    layers: tuple[int, int] | None = Field(None, description="first and past the last; lower ones are then free")
    bits: Literal[4, 8] | None = Field(None, description="of the base's weights; needs a GPU and bitsandbytes")

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.layers and isinstance(self.targets, str):
            raise ValueError("layers: name the `targets` in them, as q_proj, v_proj")
        return self


class Recipe(Strict):
    """What all verbs have in common. Same recipe and data, same weights."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    version: str
    seed: int = 7
    model: str = Field("small", description="`small`, a model folder, or a hub id")
    adapter: Path | None = Field(None, description="an adapter of an earlier verb, merged into the model before")
    licenses: frozenset[str] = LICENSES
    data: Annotated[tuple[Source, ...], Field(min_length=1)]
    held: Annotated[float, Field(gt=0, lt=1, description="share of groups kept back to measure with")] = 0.1
    held_most: Positive = 200
    lora: Lora | None = Lora()
    max_tokens: Annotated[int, Field(ge=16)] = 1024
    epochs: Annotated[float, Field(gt=0)] = 1.0
    max_steps: Positive | None = None
    batch: Positive = Field(4, description="examples a step and device")
    accumulate: Positive = 1
    lr: Annotated[float, Field(gt=0, le=1e-2)]
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    checkpointing: bool = Field(False, description="recompute activations: less memory, a third more work")
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    save_steps: Positive = 50
    tracking: tuple[Literal["tensorboard", "mlflow"], ...] = ("tensorboard",)
    trl: dict[str, Any] = Field({}, description="further fields of TRL's own configuration, as they are")

    @model_validator(mode="after")
    def _licensed(self) -> Self:
        if barred := self.licenses - LICENSES - {PRIVATE}:
            raise ValueError(f"licenses: {sorted(barred)} may not enter weights; allowed: {sorted(LICENSES)}, private")
        return self

    @property
    def digest(self) -> str:
        body = self.model_dump(mode="json") | {"licenses": sorted(self.licenses)}
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()

    def beyond(self, known: Collection[str]) -> None:
        """Raises DataError when `trl` names what TRL's configuration does not have."""
        if strange := sorted(self.trl.keys() - set(known)):
            raise DataError(f"trl: TRL has no {', '.join(strange)} here; known: {', '.join(sorted(known))}")


class Sft(Recipe):
    packing: bool = Field(False, description="several dialogues a row; needs an attention that keeps them apart")


class Reward(Recipe):
    depth: Positive | None = Field(None, description="layers that are read, from the lowest; all if not given")
    center: float | None = Field(None, description="weight of a penalty that keeps rewards around 0")


class Dpo(Recipe):
    """`loss`: sigmoid (Rafailov et al. 2023), ipo (Azar et al. 2023) and what else TRL has; kto needs no pairs."""

    loss: tuple[str, ...] = ("sigmoid",)
    beta: Annotated[float, Field(gt=0)] = 0.1


class Judge(Strict):
    """What an answer earns: the reward of a trained reward model, or minus what a guard finds in it."""

    reward_model: Path | None = Field(None, description="folder that `sluicegate-train reward` wrote")
    guard: str | None = Field(None, description="a guard that ships, or the folder of one")
    weight: Annotated[float, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.reward_model is None) == (self.guard is None):
            raise ValueError("give either `reward_model` or `guard`")
        return self


class Grpo(Recipe):
    """GRPO (Shao et al. 2024) or RLOO (Ahmadian et al. 2024)."""

    algorithm: Literal["grpo", "rloo"] = "grpo"
    rewards: Annotated[tuple[Judge, ...], Field(min_length=1)]
    answers: Annotated[int, Field(ge=2, description="drawn for each prompt")] = 4
    answer_tokens: Positive = 64
    temperature: Annotated[float, Field(gt=0)] = 1.0
    beta: Annotated[float, Field(gt=0, description="pull towards the model it starts from")] = 0.04


class Pretrain(Recipe):
    """`causal`: the next token. `masked`: of an encoder, what `mask` of the tokens were."""

    objective: Literal["causal", "masked"] = "causal"
    mask: Annotated[float, Field(gt=0, lt=1)] = 0.15
