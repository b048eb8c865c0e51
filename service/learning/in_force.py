"""Which versions judge at this moment: what the database says, loaded beside, swapped at once.

What was begun keeps its judges. A version that cannot be used changes nothing; a database that is away changes nothing.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from weakref import WeakSet

import structlog

from guards.cascade import Cascade
from guards.guard import Guard, GuardError
from guards.policy import Policy
from guards.verdict import Judgement, Passage
from service.gate.exchange import Exchange, Json, Ledger
from service.gate.generation import Choice
from service.judges import BatchedJudges, Lane
from service.learning.shadow import Shadow
from service.learning.standing import Load, Standing, chosen
from service.policies import PoliciesInForce
from service.telemetry.metrics import Metrics

RETRY_S: Final = 30.0  # until a version that could not be used is tried again
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    standing: Standing
    guard: Guard


class JudgesInForce:
    """`gate.exchange.Judges` over the guards the gateway was started with and those of the registry.

    Args:
        judges: of the guards the gateway was started with, running.
        guards: these guards.
        load: a version's guard, from its folder. Raises GuardError: it is not what was registered.
    """

    def __init__(
        self,
        judges: BatchedJudges,
        guards: Sequence[Guard],
        policies: PoliciesInForce,
        ledger: Ledger,
        metrics: Metrics,
        load: Load,
    ) -> None:
        self._first, self._configured, self._policies = judges, tuple(guards), policies
        self._ledger, self._metrics, self._load = ledger, metrics, load
        self._enforced: dict[str, Loaded] = {}
        self._canaries: dict[str, Loaded] = {}
        self._shadows: dict[str, tuple[Standing, Shadow]] = {}
        self._failed: dict[tuple[str, str], float] = {}  # (version, stage) -> when
        self._panels: dict[frozenset[str], BatchedJudges] = {frozenset(): judges}
        self._live: WeakSet[BatchedJudges] = WeakSet([judges])  # an exchange may hold one that was swapped away
        self._lanes: set[Lane] = set(judges.lanes)
        self._tell()

    # What the gate asks.

    def of(self, exchange_id: str, key_id: str) -> BatchedJudges:
        """Those that judge one exchange to its end: with the canaries that it is for."""
        names = frozenset(n for n, canary in self._canaries.items() if chosen(canary.standing, exchange_id, key_id))
        return self._panel(names)

    async def judge(self, passages: Sequence[Passage], policy: Policy, tenant: str) -> list[list[Judgement]]:
        return await self._panel(frozenset()).judge(passages, policy, tenant)

    def guards(self) -> list[Guard]:
        """Those in force for whom no canary is."""
        return self._panel(frozenset()).guards()

    def beside(self, exchange: Exchange, choices: Sequence[Choice]) -> None:
        """An exchange has ended: those in shadow may look at it. Never raises: it is no matter of the exchange."""
        for _, shadow in self._shadows.values():
            try:
                shadow.offer(exchange, choices)
            except Exception as error:
                log.error("shadow_not_offered", guard=shadow.guard.name, error=type(error).__name__)

    def told(self) -> list[Json]:
        """Each version that stands somewhere here: name, version, digest, stage, and whom a canary is for."""
        standing = [*self._of(self._enforced), *self._of(self._canaries), *(s for s, _ in self._shadows.values())]
        names = ("name", "version", "digest", "stage", "share")
        return [{name: getattr(s, name) for name in names} | {"keys": list(s.keys)} for s in standing]

    # What the database says.

    async def take(self, standing: Sequence[Standing]) -> None:
        """Makes it so, as far as it can be made. What cannot be used is told, and what was enforced before stays."""
        guards = [s for s in standing if s.kind == "guard"]
        enforced = await self._loaded([s for s in guards if s.stage == "enforced"], keep=self._enforced)
        if enforced != self._enforced:
            self._swap(enforced)
        canaries = await self._loaded([s for s in guards if s.stage == "canary"], keep={})
        if canaries != self._canaries:
            self._canaries, self._panels = canaries, {frozenset(): self._panels[frozenset()]}
        await self._beside([s for s in guards if s.stage == "shadow"])
        self._tell()
        await self._sweep()

    async def stop(self) -> None:
        """Ends what was started here; the judges of the start are ended by who started them."""
        for _, shadow in self._shadows.values():
            await shadow.stop()
        for lane in self._lanes - set(self._first.lanes):
            await lane.stop()

    async def _loaded(self, wanted: Sequence[Standing], keep: Mapping[str, Loaded]) -> dict[str, Loaded]:
        """By name; where one fails, the one of `keep`."""
        at_hand = {
            (one.standing.id, one.standing.digest): one.guard
            for one in (*self._enforced.values(), *self._canaries.values())
        }
        found: dict[str, Loaded] = {}
        for standing in wanted:
            guard = at_hand.get((standing.id, standing.digest))
            if guard is None and self._due(standing):
                guard = await self._try(standing)
            if guard is not None:
                found[standing.name] = Loaded(standing, guard)
            elif standing.name in keep:
                found[standing.name] = keep[standing.name]
        return found

    async def _try(self, standing: Standing) -> Guard | None:
        try:
            guard = await asyncio.to_thread(self._load, standing)
            self._fits(guard)
        except Exception as error:  # weights may be anything; none of it ends the watch
            self._reject(standing, error)
            return None
        self._metrics.guard_swaps.labels(standing.name, "loaded").inc()
        log.info("guard_loaded", guard=standing.id, stage=standing.stage, digest=standing.digest)
        return guard

    def _fits(self, guard: Guard) -> None:
        if guard.name not in {known.name for known in self._configured}:
            raise GuardError("no guard of that name is in use here; versions take the place of one")
        if faults := self._policies.faults(self._with({guard.name: guard})):
            raise GuardError(f"the policy cannot be kept with it: {'; '.join(faults[:3])}")

    def _reject(self, standing: Standing, error: Exception) -> None:
        self._failed[standing.id, standing.stage] = time.monotonic()
        self._metrics.guard_swaps.labels(standing.name, "rejected").inc()
        why = str(error) if isinstance(error, GuardError) else type(error).__name__
        log.error("guard_rejected", guard=standing.id, stage=standing.stage, error=why)

    def _due(self, standing: Standing) -> bool:
        return time.monotonic() - self._failed.get((standing.id, standing.stage), -RETRY_S) >= RETRY_S

    def _swap(self, enforced: dict[str, Loaded]) -> None:
        """One reference to all lanes is set: an exchange has the old ones or the new ones."""
        guards = self._with({name: one.guard for name, one in enforced.items()}, afresh=True)
        self._enforced = enforced
        self._panels = {frozenset(): self._made(guards) if enforced else self._first}
        self._policies.judged_by(guards)

    def _panel(self, names: frozenset[str]) -> BatchedJudges:
        if (panel := self._panels.get(names)) is None:
            others = {name: self._canaries[name].guard for name in names}
            panel = self._panels[names] = self._made(self._with(others))
        return panel

    def _made(self, guards: Sequence[Guard]) -> BatchedJudges:
        panel = self._first.replaced(guards, self._lanes)
        self._lanes |= set(panel.lanes)
        self._live.add(panel)
        return panel

    def _with(self, others: Mapping[str, Guard], afresh: bool = False) -> list[Guard]:
        """The guards the gateway was started with, in their order, with others in the place of some."""
        enforced = {} if afresh else {name: one.guard for name, one in self._enforced.items()}
        instead: dict[str, Guard] = enforced | dict(others)
        guards: list[Guard] = []
        for guard in self._configured:
            if isinstance(guard, Cascade) and instead.keys() & {guard.first.name, guard.then.name}:
                first, then = (instead.get(part.name, part) for part in (guard.first, guard.then))
                guards.append(Cascade(guard.name, guard.spec, first, then))
            else:
                guards.append(instead.get(guard.name, guard))
        return guards

    async def _beside(self, wanted: Sequence[Standing]) -> None:
        for name, (standing, shadow) in list(self._shadows.items()):
            if standing not in wanted:
                del self._shadows[name]
                await shadow.stop()
        for standing in wanted:
            if standing.name not in self._shadows and self._due(standing):
                shadow = Shadow(lambda s=standing: self._load(s), self._ledger, self._metrics)  # type: ignore[misc]
                try:
                    await shadow.start()
                except Exception as error:  # weights may be anything
                    self._reject(standing, error)
                    continue
                self._shadows[standing.name] = standing, shadow
                self._metrics.guard_swaps.labels(standing.name, "loaded").inc()

    async def _sweep(self) -> None:
        """Ends lanes that no exchange can reach any more."""
        used = {lane for panel in self._live for lane in panel.lanes}
        unused, self._lanes = self._lanes - used, used
        for lane in unused:
            await lane.stop()

    def _tell(self) -> None:
        gauge = self._metrics.guard_stage
        gauge.clear()
        for guard in self.guards():
            if guard.name not in self._enforced:
                gauge.labels(guard.name, guard.version, guard.digest, "configured").set(1)
        for told in self.told():
            gauge.labels(told["name"], told["version"], told["digest"], told["stage"]).set(1)

    def _of(self, loaded: Mapping[str, Loaded]) -> list[Standing]:
        return [one.standing for one in loaded.values()]
