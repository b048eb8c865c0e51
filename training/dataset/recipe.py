"""What a dataset is built from and by which rules: one YAML file, or the options of `sluicegate-train data build`."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, model_validator

from guards.document import Strict
from training import document
from training.dataset.items import Kind
from training.rows import LICENSES, DataError, data_folder

Share = Annotated[float, Field(gt=0, le=1)]
Part = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Part, ...]] = get_args(Part)  # the last is held back furthest
IN_DATA = "data:"  # of a path: under SLUICEGATE_DATA
PRIVATE = "private"  # licence of the service's own traffic


class Leakage(Strict):
    """`sets`: name -> file or folder of texts that must not be learnt. `least`: Jaccard similarity of word 4-grams."""

    sets: dict[str, str] = Field({})
    least: Share = 0.5
    on_leak: Literal["drop", "fail"] = "drop"


class Caps(Strict):
    """The largest share of all rows that one caller, one end user, one reviewer may stand behind: against poisoning."""

    caller: Share = 0.5
    subject: Share = 0.2
    reviewer: Share = 0.8


class Split(Strict):
    """Conversations are never torn apart. `reviewers`: share of the reviewers whose rows are all in `test`."""

    shares: dict[Part, Annotated[float, Field(ge=0, le=1)]] = Field({"train": 0.8, "validation": 0.1, "test": 0.1})
    reviewers: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _whole(self) -> "Split":
        if abs(sum(self.shares.values()) - 1) > 1e-6:
            raise ValueError(f"shares add up to {sum(self.shares.values())}, not to 1")
        return self


class Recipe(Strict):
    """Same recipe and same sources, same digest.

    Attributes:
        feeds: files or URLs of reviewed traffic, as `sluicegate review export` and `GET /v1/review/export` give them.
        public: files, or folders of `*.jsonl*`; `data:train` is below SLUICEGATE_DATA.
        most: name of a public source -> most rows of it; others come whole.
        near: texts at least so similar to one that is in stay out (Jaccard of word 4-grams).
        weight_most: a row of a random sample weighs one over its inclusion probability, at most this.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    seed: int = 7
    feeds: tuple[str, ...] = ()
    public: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ("prompt", "response")
    licenses: frozenset[str] = LICENSES | {PRIVATE}
    machine: bool = True
    most: dict[str, Annotated[int, Field(ge=0)]] = Field({})
    least_agreement: Annotated[float, Field(ge=0, le=1)] = 0.5
    least_reviewers: Annotated[int, Field(ge=1)] = 1
    near: Share = 0.8
    weight_most: Annotated[float, Field(ge=1)] = 10.0
    leakage: Leakage = Leakage()
    caps: Caps = Caps()
    split: Split = Split()
    parents: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _something(self) -> "Recipe":
        if not self.feeds and not self.public:
            raise ValueError("nothing to build from: give feeds or public")
        return self

    @property
    def rules(self) -> dict[str, Any]:
        """All but where the sources are."""
        rules = self.model_dump(mode="json", exclude={"feeds", "public", "parents", "name"})
        return rules | {"licenses": sorted(self.licenses)}


def recipe(given: dict[str, Any], where: str = "the options") -> Recipe:
    """Checked. Raises DataError that lists every fault."""
    return document.checked(Recipe, given, where)


def place(given: str) -> Path:
    """A path of a recipe. Raises DataError when there is nothing there."""
    path = data_folder() / given.removeprefix(IN_DATA) if given.startswith(IN_DATA) else Path(given)
    if not path.exists():
        raise DataError(f"{given}: no such file or folder")
    return path


def files(given: str) -> list[Path]:
    """The file, or those of the folder, in order. Raises DataError."""
    path = place(given)
    found = sorted(path.glob("*.jsonl*")) if path.is_dir() else [path]
    if not found:
        raise DataError(f"{given}: no *.jsonl or *.jsonl.gz in this folder")
    return found
