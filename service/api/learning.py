"""/v1/learning: datasets, runs and versions of models, and where they stand. For operators."""

from dataclasses import asdict
from typing import Annotated

from pydantic import Field, StringConstraints

from guards.evaluation.metrics import wilson
from service.api.schemas import Id, JsonObject, Strict
from service.gate.exchange import Caller, Json, Role
from service.learning.errors import LearningError
from service.learning.lineage import Candidate, Dataset, Run, State, Version
from service.learning.report import Category, Report
from service.learning.stages import To
from service.learning.weights import Kind

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16,128}$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
VersionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{1,1000}$")]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=200_000)]
Datasets = Annotated[list[Digest], Field(max_length=64)]


class DatasetRequest(Strict):
    """A version of a dataset: what it is made of, and which exchanges it has rows of. No text."""

    name: ModelName
    version: VersionName
    digest: Digest
    manifest: JsonObject
    exchanges: Annotated[list[Id], Field(max_length=100_000)] | None = None


class RunRequest(Strict):
    """A training run, told when it begins and again when it has ended."""

    id: Id
    verb: ModelName
    recipe: Line
    recipe_digest: Digest
    datasets: Datasets | None = None
    revision: Line
    state: State
    metrics: JsonObject | None = None


class ModelRequest(Strict):
    """A version whose files are in the registry. `digest`: of its weights, or of its `guard.json`."""

    kind: Kind
    name: ModelName
    version: VersionName
    digest: Digest
    folder: Line
    run: Id | None = None
    datasets: Datasets | None = None
    parent: Line | None = None
    metrics: JsonObject | None = None
    gates: JsonObject | None = None
    card: Text | None = None


class StageRequest(Strict):
    """Where to move a version, whom a canary is for, and why."""

    to: To
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    keys: Annotated[list[Id], Field(max_length=1000)] | None = None
    reason: Text | None = None
    override: bool = False


class RollbackRequest(Strict):
    """One call is one step back: it must not fail for want of words."""

    reason: Text | None = None


def run_of(asked: RunRequest) -> Run:
    told = {name: getattr(asked, name) for name in ("id", "verb", "recipe", "recipe_digest", "revision", "state")}
    return Run(**told, datasets=asked.datasets or (), metrics=asked.metrics or {})


def candidate_of(asked: ModelRequest) -> Candidate:
    return Candidate(
        asked.kind,
        asked.name,
        asked.version,
        asked.digest,
        asked.folder,
        asked.run,
        asked.datasets or (),
        asked.parent,
        asked.metrics or {},
        asked.gates or {},
        asked.card or "",
    )


def may_override(asked: StageRequest, caller: Caller) -> None:
    """Raises LearningError: gates are overridden by admins alone."""
    if asked.override and caller.role is not Role.ADMIN:
        raise LearningError("gates are overridden with an admin's key alone")


def model(found: Version) -> Json:
    return {"object": "learning.model"} | asdict(found)


def dataset(found: Dataset) -> Json:
    return {"object": "learning.dataset"} | asdict(found)


def shadow(found: Report) -> Json:
    """Shares with Wilson's interval; None where there is nothing to take a share of."""
    return {
        "object": "learning.shadow",
        **{name: getattr(found, name) for name in ("id", "against", "since", "exchanges")},
        "categories": [_category(one) for one in found.categories],
    }


def _category(one: Category) -> Json:
    names = ("stage", "category", "judged", "agreed", "only_enforced", "only_shadow")
    human = one.human
    return {name: getattr(one, name) for name in names} | {
        "agreement": one.agreement.document() if one.agreement else None,
        "human": {"decided": human.decided, "harmful": human.harmful}
        | {who: _right(getattr(human, who), human.decided) for who in ("enforced", "shadow")},
    }


def _right(right: int, of: int) -> Json:
    return {"right": right, "share": wilson(right, of).document() if of else None}
