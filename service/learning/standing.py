"""What is to be in force, as the database says it; and as it said it last, for a start while the database is away."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa
import structlog

from guards.guard import Guard, GuardError
from guards.registry import load
from guards.verdict import Passage
from service.learning.errors import LearningError
from service.learning.weights import located
from service.ledger.lineage import ModelRow, StageRow
from service.ledger.store import Store
from service.telemetry.metrics import Metrics

AT_WORK: Final = ("shadow", "canary", "enforced")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """A version that gateways use. `folder`: relative to the registry; `share` and `keys`: whom a canary is for."""

    id: str
    kind: str
    name: str
    version: str
    digest: str
    folder: str
    stage: str
    share: float | None = None
    keys: tuple[str, ...] = ()


def chosen(canary: Standing, exchange_id: str, key_id: str) -> bool:
    """Whether a canary is for an exchange: by key, or by the hash of its id, so that it can be checked later."""
    if key_id in canary.keys:
        return True
    drawn = hashlib.blake2b(f"{canary.name}/{exchange_id}".encode(), digest_size=8).digest()
    return int.from_bytes(drawn) < (canary.share or 0.0) * 2**64


Load = Callable[[Standing], Guard]


async def standing(store: Store) -> list[Standing]:
    """All versions that gateways use now."""
    columns = ModelRow.id, ModelRow.kind, ModelRow.name, ModelRow.version, ModelRow.digest, ModelRow.folder
    query = sa.select(*columns, StageRow.stage, StageRow.share, StageRow.key_ids.label("keys")).join(StageRow)
    async with store.read() as session:
        rows = await session.execute(query.where(StageRow.stage.in_(AT_WORK)).order_by(ModelRow.id))
        return [Standing(**dict(row) | {"keys": tuple(row["keys"])}) for row in rows.mappings()]


def guard_of(registry: Path, threads: int, batch_tokens: int) -> Load:
    """Loads versions: files of the digest that was registered, and a first text judged."""

    def loaded(version: Standing) -> Guard:
        try:
            folder = located(registry, version.folder)
        except LearningError as error:
            raise GuardError(str(error)) from error
        guard = load(version.name, folder, threads=threads, batch_tokens=batch_tokens)
        if guard.digest != version.digest:
            raise GuardError(f"{folder}: digest is {guard.digest[:12]}, registered was {version.digest[:12]}")
        guard.name, guard.version = version.name, version.version
        guard.judge([Passage("A text to begin with.")])
        return guard

    return loaded


class Watch:
    """Looks for ever what is to be in force and has each of `takers` make it so."""

    def __init__(
        self, store: Store, memory: Path, metrics: Metrics, *takers: Callable[[Sequence[Standing]], Awaitable[None]]
    ) -> None:
        self._store, self._memory, self._metrics, self._takers = store, memory, metrics, takers
        self._known: list[Standing] | None = None
        self._up = True

    async def look(self) -> None:
        """Once. A database that is away is told; at the start what it said last is taken instead. Never raises."""
        try:
            found = await standing(self._store)
        except Exception as error:  # whatever it is, what is in force stays
            if self._up:
                log.error("registry_unreachable", error=type(error).__name__)
            self._up = False
            if self._known is None:
                self._known = await asyncio.to_thread(_remembered, self._memory)
        else:
            self._up = True
            if found != self._known:
                await asyncio.to_thread(_remember, self._memory, found)
            self._known = found
        self._metrics.registry_up.set(self._up)
        await self._take(self._known)

    async def run(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            await self.look()

    async def _take(self, found: Sequence[Standing]) -> None:
        for take in self._takers:
            try:
                await take(found)
            except Exception as error:  # the watch must not end: what is in force stays
                log.exception("registry_not_taken", error=type(error).__name__)


def _remember(path: Path, found: Sequence[Standing]) -> None:
    with suppress(OSError):  # a full disk is told by others
        path.with_suffix(".new").write_text(json.dumps([asdict(one) for one in found]))
        path.with_suffix(".new").replace(path)


def _remembered(path: Path) -> list[Standing]:
    try:
        return [Standing(**one | {"keys": tuple(one["keys"])}) for one in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError, KeyError):
        return []
