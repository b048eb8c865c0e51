"""What a guards file says of a classifier in Hugging Face's form."""

from typing import Annotated, Literal

from pydantic import Field

from guards.document import Strict
from guards.taxonomy import NAME
from guards.verdict import Stage

CategoryName = Annotated[str, Field(pattern=NAME)]


class Calibration(Strict):
    """`sigmoid(slope * logit + intercept)` of a category's probability."""

    slope: float = Field(1.0, gt=0)
    intercept: float = 0.0


class HuggingFaceSpec(Strict):
    """A sequence or token classifier in Hugging Face's form."""

    kind: Literal["huggingface"] = "huggingface"
    model: str = Field(
        min_length=1, description="folder, relative to the guards file; or id on a hub, fetched at start"
    )
    revision: str | None = Field(None, description="commit on the hub; name one, or the guard may change by itself")
    labels: dict[str, CategoryName] = Field(
        min_length=1, description="label of the model: category; others are ignored"
    )
    calibration: dict[CategoryName, Calibration] = Field({}, description="category: how its probability is corrected")
    stages: tuple[Stage, ...] = Field(("input", "output"), min_length=1, description="where it judges")
    backend: Literal["auto", "openvino", "onnxruntime", "torch"] = Field(
        "auto", description="auto: what is faster on this CPU; torch: only in `sluicegate guards serve`"
    )
    task: Literal["sequence", "token"] | None = Field(None, description="if the model's config does not tell")
    activation: Literal["softmax", "sigmoid"] | None = Field(None, description="if the config's problem_type is wrong")
    with_prompt: bool = Field(False, description="responses are read as a pair with their prompt; else alone")
    max_tokens: int | None = Field(
        None, gt=16, description="of a window; the model's own limit, 512 at most, if not given"
    )
    overlap_tokens: int = Field(48, ge=0, description="of neighbouring windows")
    prompt_tokens: int = Field(64, ge=8, description="of the prompt in a pair: its end")
    languages: dict[str, dict[CategoryName, float]] = Field(
        {}, description="ISO 639 code: recall by category, as measured"
    )
