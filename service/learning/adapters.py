"""Which adapters of the model answer at this moment: loaded into the engines at run time, for all or for a canary."""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

import structlog

from service.gate.exchange import Asked, Caller, Json
from service.learning.errors import LearningError
from service.learning.standing import Standing, chosen
from service.learning.weights import identity, located
from service.telemetry.metrics import Metrics

KEPT_S: Final = 60.0  # after its last exchange may have begun: one that waits for its verdict asks the engine later
RETRY_S: Final = 30.0
log = structlog.get_logger(__name__)


class Adapted(Protocol):
    @property
    def base(self) -> Collection[str]: ...
    @property
    def loaded(self) -> Collection[str]: ...


class Engines(Protocol):
    async def adapt(self, wanted: Mapping[str, str], gone: Collection[str]) -> Adapted:
        """Has adapters (name -> folder) loaded, and others dropped. Raises EngineUnavailable."""
        ...


class AdaptersInForce:
    """Requests for the model go to an adapter: a canary that is for them, else the enforced one, else to none."""

    def __init__(self, engines: Engines, registry: Path, metrics: Metrics, kept_s: float = KEPT_S) -> None:
        self._engines, self._registry, self._metrics, self._kept_s = engines, registry, metrics, kept_s
        self._folders: dict[str, str] = {}  # of versions whose files are what was registered
        self._failed: dict[str, float] = {}
        self._left: dict[str, float] = {}  # until when those that are used no more stay loaded
        self._base: Collection[str] = ()
        self._used: tuple[Standing, ...] = ()

    def __call__(self, asked: Asked, caller: Caller) -> Asked:
        """The request as the engine gets it. What the caller reads still has the name that they asked for."""
        if not self._used or asked.endpoint == "embeddings" or asked.body.get("model") not in self._base:
            return asked
        name = next((s.id for s in self._used if _for(s, asked, caller)), None)
        return _of(asked, name) if name else asked

    def told(self) -> list[Json]:
        """Each adapter that answers here."""
        names = ("name", "version", "digest", "stage", "share")
        return [{name: getattr(s, name) for name in names} | {"keys": list(s.keys)} for s in self._used]

    async def take(self, standing: Sequence[Standing]) -> None:
        """Makes it so; an adapter whose files are others, or that the engine refuses, answers nobody."""
        wanted = [s for s in standing if s.kind == "adapter" and s.stage != "shadow"]
        if not wanted and not self._left and not self._used:
            return
        checked = [s for s in wanted if await self._is_registered(s)]
        now = time.monotonic()
        for used in self._used:
            if used.id not in {s.id for s in checked}:
                self._left.setdefault(used.id, now + self._kept_s)
        for s in checked:
            self._left.pop(s.id, None)
        self._used = tuple(s for s in self._used if s.id not in self._left)  # none begins with it from here on
        gone = [name for name, until in self._left.items() if until < now]
        adapted = await self._engines.adapt({s.id: self._folders[s.id] for s in checked}, gone)
        self._left = {name: until for name, until in self._left.items() if name not in gone or name in adapted.loaded}
        self._base = adapted.base
        ready = (s for s in checked if s.id in adapted.loaded)
        self._used = tuple(sorted(ready, key=lambda s: (s.stage != "canary", s.id)))

    async def _is_registered(self, standing: Standing) -> bool:
        if standing.id in self._folders:
            return True
        if time.monotonic() - self._failed.get(standing.id, -RETRY_S) < RETRY_S:
            return False
        try:
            folder = located(self._registry, standing.folder)
            digest, _ = await asyncio.to_thread(identity, "adapter", folder)
            if digest != standing.digest:
                raise LearningError(f"{folder}: digest is {digest[:12]}, registered was {standing.digest[:12]}")
        except LearningError as error:
            self._failed[standing.id] = time.monotonic()
            self._metrics.guard_swaps.labels(standing.name, "rejected").inc()
            log.error("adapter_rejected", adapter=standing.id, error=str(error))
            return False
        self._folders[standing.id] = str(folder)
        self._metrics.guard_swaps.labels(standing.name, "loaded").inc()
        return True


def _for(standing: Standing, asked: Asked, caller: Caller) -> bool:
    return standing.stage == "enforced" or chosen(standing, asked.id, caller.key_id)


def _of(asked: Asked, model: str) -> Asked:
    def rewritten(texts: Sequence[str]) -> Json:
        return asked.rewrite(texts) | {"model": model}

    return replace(asked, body=asked.body | {"model": model}, rewrite=rewritten)
