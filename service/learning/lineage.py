"""What was learned from what: datasets, runs, versions of models. And back: what has learned from an exchange."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.gate.exchange import Json
from service.learning.errors import LearningError, Unknown
from service.learning.weights import Kind, identity, located
from service.ledger import audit
from service.ledger.lineage import (
    DatasetItem,
    DatasetRow,
    DatasetVersionRow,
    ModelDataset,
    ModelRow,
    PromotionRow,
    RunRow,
    StageRow,
)
from service.ledger.store import Store

State = Literal["running", "done", "failed"]
_COLUMNS: Final = (
    "id",
    "kind",
    "name",
    "version",
    "digest",
    "folder",
    "parent",
    "metrics",
    "gates",
    "card",
    "at",
    "by",
)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A version of a dataset. `exchanges`: how many of them it has rows of; `models`: what learned from it."""

    name: str
    version: str
    digest: str
    at: float
    by: str
    manifest: Json
    exchanges: int
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """A training run, as who trains tells it. `datasets`: digests."""

    id: str
    verb: str
    recipe: str
    recipe_digest: str
    datasets: Sequence[str]
    revision: str
    state: State
    metrics: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version to be registered. `digest`: of its weights, or of `guard.json`; `folder`: in the registry."""

    kind: Kind
    name: str
    version: str
    digest: str
    folder: str
    run: str | None = None
    datasets: Sequence[str] = ()
    parent: str | None = None
    metrics: Json = field(default_factory=dict)
    gates: Json = field(default_factory=dict)
    card: str = ""

    @property
    def id(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version, what it learned from, where it stands since when, and how it came there."""

    id: str
    kind: Kind
    name: str
    version: str
    digest: str
    folder: str
    parent: str | None
    metrics: Json
    gates: Json
    card: str
    at: float
    by: str
    run: str | None
    datasets: tuple[str, ...]
    stage: str
    since: float
    share: float | None
    keys: tuple[str, ...]
    history: tuple[Json, ...]


async def add_dataset(
    store: Store, name: str, version: str, digest: str, manifest: Json, exchanges: Sequence[str], by: str
) -> bool:
    """Notes a version of a dataset and the exchanges it has rows of. False: it was before. Raises LearningError."""
    async with store.write() as connection:
        known = await connection.execute(sa.select(DatasetVersionRow).where(DatasetVersionRow.digest == digest))
        if (row := known.first()) is not None:
            if (row.name, row.version) != (name, version):
                raise LearningError(f"digest {digest[:12]} is that of {row.name}@{row.version}")
            return False
        now = time.time()
        await connection.execute(store.insert(DatasetRow).values(name=name, at=now).on_conflict_do_nothing())
        values = {"digest": digest, "name": name, "version": version, "at": now, "by": by, "manifest": manifest}
        try:
            await connection.execute(sa.insert(DatasetVersionRow).values(**values))
        except IntegrityError:
            raise LearningError(f"{name}@{version} is there with another digest; a version never changes") from None
        if items := [{"digest": digest, "exchange_id": id_} for id_ in dict.fromkeys(exchanges)]:
            await connection.execute(sa.insert(DatasetItem), items)
        await audit.append(connection, store.vault, by, "dataset_add", digest, name=name, exchanges=len(items))
    return True


async def add_run(store: Store, run: Run, by: str) -> None:
    """Notes a run, or how far one has come. Raises LearningError: it has ended, or was another."""
    now = time.time()
    ended = None if run.state == "running" else now
    async with store.write() as connection:
        known = (await connection.execute(sa.select(RunRow).where(RunRow.id == run.id))).first()
        what = {name: getattr(run, name) for name in ("verb", "recipe", "recipe_digest", "revision")}
        what["datasets"] = list(run.datasets)
        if known is None:
            row = what | {"id": run.id, "state": run.state, "metrics": run.metrics, "by": by, "at": now}
            await connection.execute(sa.insert(RunRow).values(**row, ended_at=ended))
        elif any(getattr(known, name) != value for name, value in what.items()):
            raise LearningError(f"run {run.id} was begun as another; give each run an id of its own")
        elif known.state != "running":
            if (known.state, known.metrics) != (run.state, run.metrics):
                raise LearningError(f"run {run.id} has ended: {known.state}")
            return
        else:
            change = {"state": run.state, "metrics": run.metrics, "ended_at": ended}
            await connection.execute(sa.update(RunRow).where(RunRow.id == run.id).values(**change))
        await audit.append(connection, store.vault, by, "run", run.id, state=run.state)


async def add_model(store: Store, registry: Path, candidate: Candidate, by: str) -> Version:
    """Registers a version whose files are in the registry and are what its digest says; again: changes nothing.

    Raises:
        LearningError: the files are others, the version is taken, a dataset or run is not noted.
    """
    digest, folder = await asyncio.to_thread(_found, registry, candidate)
    async with store.write() as connection:
        known = (await connection.execute(sa.select(ModelRow).where(ModelRow.id == candidate.id))).first()
        if known is not None and known.digest != digest:
            raise LearningError(f"{candidate.id} is there with digest {known.digest[:12]}; a version never changes")
        if known is None:
            await _insert(store, connection, candidate, digest, folder, by)
    return await model(store, candidate.name, candidate.version)


def _found(registry: Path, candidate: Candidate) -> tuple[str, str]:
    """(digest, folder relative to the registry) of the files as they are."""
    folder = located(registry, candidate.folder)
    digest, weights = identity(candidate.kind, folder)
    if candidate.digest not in (digest, weights):
        raise LearningError(
            f"the weights in {folder} have digest {weights[:12]}, not {candidate.digest[:12]}; write the version again"
        )
    return digest, folder.relative_to(registry.resolve()).as_posix()


async def _insert(
    store: Store, connection: AsyncConnection, candidate: Candidate, digest: str, folder: str, by: str
) -> None:
    noted = set(await connection.scalars(sa.select(DatasetVersionRow.digest)))
    if missing := sorted(set(candidate.datasets) - noted):
        raise LearningError(f"dataset {missing[0][:12]} is not noted; POST it to /v1/learning/datasets first")
    run = await connection.scalar(sa.select(RunRow.state).where(RunRow.id == candidate.run))
    if candidate.run is not None and run != "done":
        raise LearningError(f"run {candidate.run} is {run or 'not noted'}; a version comes from a run that is done")
    c, now = candidate, time.time()
    row = {name: getattr(c, name) for name in ("id", "kind", "name", "version", "parent", "metrics", "gates", "card")}
    row |= {"digest": digest, "folder": folder, "run_id": c.run, "at": now, "by": by}
    await connection.execute(sa.insert(ModelRow).values(**row))
    if of := [{"model_id": c.id, "digest": d} for d in dict.fromkeys(c.datasets)]:
        await connection.execute(sa.insert(ModelDataset), of)
    stage = {"model_id": c.id, "name": c.name, "stage": "registered", "key_ids": [], "at": now}
    await connection.execute(sa.insert(StageRow).values(**stage))
    await promoted(store, connection, by, c.name, c.id, "register")


async def promoted(
    store: Store, connection: AsyncConnection, by: str, name: str, model_id: str | None, action: str, **detail: Any
) -> None:
    """Adds to the history of `name`, and to the audit log."""
    told = {key: value for key, value in detail.items() if key != "reason"}
    await audit.append(connection, store.vault, by, f"model_{action}", model_id or name, **told)  # writers in turn
    last = await connection.scalar(sa.select(sa.func.max(PromotionRow.seq)))
    row = {"replaced": None, "share": None, "key_ids": [], "reason": "", "override": False} | detail
    row |= {"seq": (last or 0) + 1, "at": time.time(), "by": by, "name": name, "model_id": model_id, "action": action}
    await connection.execute(sa.insert(PromotionRow).values(**row))


async def models(store: Store, *where: Any) -> list[Version]:
    """Registered versions, newest first."""
    query = sa.select(ModelRow, StageRow).join(StageRow, StageRow.model_id == ModelRow.id).where(*where)
    async with store.read() as session:
        rows = (await session.execute(query.order_by(ModelRow.at.desc(), ModelRow.id))).all()
        of_datasets = (await session.scalars(sa.select(ModelDataset).order_by(ModelDataset.digest))).all()
        history = (await session.scalars(sa.select(PromotionRow).order_by(PromotionRow.seq))).all()
    return [
        Version(
            **{name: getattr(row, name) for name in _COLUMNS},
            run=row.run_id,
            datasets=tuple(d.digest for d in of_datasets if d.model_id == row.id),
            stage=stage.stage,
            since=stage.at,
            share=stage.share,
            keys=tuple(stage.key_ids),
            history=tuple(_step(p) for p in history if row.id in (p.model_id, p.replaced)),
        )
        for row, stage in rows
    ]


async def model(store: Store, name: str, version: str) -> Version:
    """Raises Unknown."""
    if not (found := await models(store, ModelRow.id == f"{name}@{version}")):
        raise Unknown(f"there is no version {name}@{version}; they are in GET /v1/learning/models")
    return found[0]


def _step(row: PromotionRow) -> Json:
    names = ("at", "by", "action", "model_id", "replaced", "share", "reason", "override")
    return {name: getattr(row, name) for name in names} | {"keys": row.key_ids}


async def runs(store: Store, limit: int) -> Sequence[RunRow]:
    """Training runs, the newest first."""
    async with store.read() as session:
        return (await session.scalars(sa.select(RunRow).order_by(RunRow.at.desc(), RunRow.id).limit(limit))).all()


async def datasets(store: Store) -> list[Dataset]:
    """All versions of datasets, newest first."""
    async with store.read() as session:
        rows = (await session.scalars(sa.select(DatasetVersionRow).order_by(DatasetVersionRow.at.desc()))).all()
        counted = sa.select(DatasetItem.digest, sa.func.count()).group_by(DatasetItem.digest)
        counts = {row[0]: int(row[1]) for row in await session.execute(counted)}
        of_models = (await session.scalars(sa.select(ModelDataset).order_by(ModelDataset.model_id))).all()
    return [
        Dataset(
            **{name: getattr(row, name) for name in ("name", "version", "digest", "at", "by", "manifest")},
            exchanges=counts.get(row.digest, 0),
            models=tuple(m.model_id for m in of_models if m.digest == row.digest),
        )
        for row in rows
    ]
