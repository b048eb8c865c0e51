"""The tables of learning: datasets, runs, versions of models, where each stands, what candidates said beside.

What the database itself keeps up beyond these constraints is in the triggers of migration 0005: versions, what is in
them and promotions are never changed.
"""

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from service.gate.exchange import Json
from service.ledger.models import Base, Exchange

KINDS = ("guard", "adapter")
STAGES = ("registered", "shadow", "canary", "enforced", "retired")
ACTIONS = ("register", "shadow", "canary", "enforce", "retire", "rollback")
STATES = ("running", "done", "failed")
_TAKEN = text("stage IN ('shadow', 'canary', 'enforced')")


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(map(repr, values))})", name=f"ck_{column}")


class DatasetRow(Base):
    __tablename__ = "datasets"

    name: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[float]


class DatasetVersionRow(Base):
    """`digest`: its identity. `manifest`: where its rows come from, counts, rules; no text."""

    __tablename__ = "dataset_versions"
    __table_args__ = (UniqueConstraint("name", "version"),)

    digest: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(ForeignKey(DatasetRow.name))
    version: Mapped[str]
    at: Mapped[float]
    by: Mapped[str]
    manifest: Mapped[Json]


class DatasetItem(Base):
    """An exchange that a dataset has rows of. Not every one need be of this installation, so it refers to none."""

    __tablename__ = "dataset_items"

    digest: Mapped[str] = mapped_column(ForeignKey(DatasetVersionRow.digest), primary_key=True)
    exchange_id: Mapped[str] = mapped_column(primary_key=True, index=True)


class RunRow(Base):
    """A training run. `datasets`: digests. It changes while it runs; once done or failed it stays as it is."""

    __tablename__ = "training_runs"
    __table_args__ = (_one_of("state", STATES),)

    id: Mapped[str] = mapped_column(primary_key=True)
    verb: Mapped[str]
    recipe: Mapped[str]
    recipe_digest: Mapped[str]
    datasets: Mapped[list[Any]]
    revision: Mapped[str]
    state: Mapped[str]
    metrics: Mapped[Json]
    by: Mapped[str]
    at: Mapped[float]
    ended_at: Mapped[float | None]


class ModelRow(Base):
    """A version of a guard or of an adapter. `id`: `name@version`. `folder`: in the registry, relative to it.

    `digest`: of a guard that of its verdicts, of an adapter that of its weights. `parent`: what it was trained from,
    which may be one that ships and is not in this table.
    """

    __tablename__ = "model_versions"
    __table_args__ = (_one_of("kind", KINDS), UniqueConstraint("name", "version"))

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]
    version: Mapped[str]
    digest: Mapped[str]
    folder: Mapped[str]
    run_id: Mapped[str | None] = mapped_column(ForeignKey(RunRow.id))
    parent: Mapped[str | None]
    metrics: Mapped[Json]
    gates: Mapped[Json]
    card: Mapped[str]
    at: Mapped[float]
    by: Mapped[str]


class ModelDataset(Base):
    """A dataset that a version learned from."""

    __tablename__ = "model_datasets"

    model_id: Mapped[str] = mapped_column(ForeignKey(ModelRow.id), primary_key=True)
    digest: Mapped[str] = mapped_column(ForeignKey(DatasetVersionRow.digest), primary_key=True, index=True)


class StageRow(Base):
    """Where a version stands; what gateways read. `share` and `key_ids`: whom a canary is for."""

    __tablename__ = "model_stages"
    __table_args__ = (
        _one_of("stage", STAGES),
        CheckConstraint("share >= 0 AND share <= 1", name="ck_share"),
        Index("uq_model_stages_taken", "name", "stage", unique=True, sqlite_where=_TAKEN, postgresql_where=_TAKEN),
    )

    model_id: Mapped[str] = mapped_column(ForeignKey(ModelRow.id), primary_key=True)
    name: Mapped[str]
    stage: Mapped[str]
    share: Mapped[float | None]
    key_ids: Mapped[list[Any]]
    at: Mapped[float]


class PromotionRow(Base):
    """Who moved a version where, when and why. `replaced`: the version that stood there.

    Of a rollback `model_id` is what came back, None where that is what the guards file says.
    """

    __tablename__ = "promotions"
    __table_args__ = (_one_of("action", ACTIONS), Index(None, "name", "seq"))

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[float]
    by: Mapped[str]
    name: Mapped[str]
    model_id: Mapped[str | None] = mapped_column(ForeignKey(ModelRow.id))
    action: Mapped[str]
    replaced: Mapped[str | None] = mapped_column(ForeignKey(ModelRow.id))
    share: Mapped[float | None]
    key_ids: Mapped[list[Any]]
    reason: Mapped[str]
    override: Mapped[bool]


class BesideRow(Base):
    """What a guard in shadow said of an exchange, beside the one in force (`enforced`, its digest).

    `scores`: stage -> category -> [score in force, score in shadow, threshold]; None: that guard failed.
    """

    __tablename__ = "beside"
    __table_args__ = (Index(None, "digest", "at"),)

    exchange_id: Mapped[str] = mapped_column(ForeignKey(Exchange.id), primary_key=True)
    digest: Mapped[str] = mapped_column(primary_key=True)
    guard: Mapped[str]
    version: Mapped[str]
    enforced: Mapped[str]
    at: Mapped[float]
    scores: Mapped[Json]
