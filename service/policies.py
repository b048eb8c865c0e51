"""The policies in force: one file, watched, checked whole, swapped at once; the last good one is kept."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from guards.guard import Guard, Reaching
from guards.policy import Coverage, Policies, Policy, PolicyError, Source, parse_file
from guards.verdict import Stage
from service.gate.exchange import Caller, Json
from service.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)
STAGES: Final[tuple[Stage, ...]] = ("input", "output")


def coverage_of(guards: Sequence[Guard]) -> Coverage:
    """What each guard judges at each stage, by its name."""
    return {g.name: {stage: g.covers(stage) for stage in STAGES} for g in guards}


def reach_of(guards: Sequence[Guard]) -> dict[str, int]:
    """What a stream must hold back for each guard that says so, by its name, in characters."""
    return {g.name: g.reach_chars for g in guards if isinstance(g, Reaching)}


@dataclass(frozen=True, slots=True)
class Rejected:
    """A change of the file that was not taken, and every fault of it."""

    at: datetime
    faults: str


class PoliciesInForce:
    """The policy of each caller at this moment. What was begun under one policy keeps it.

    Args:
        policies: those of the file as they were checked at the start.
        guards: those that judge at first; a changed file may name no others.
        path: the file to watch; None for policies that never change.
        now: the clock that schedules are read by.
        taken: is told of each file that comes into force.
    """

    def __init__(
        self,
        policies: Policies,
        guards: Sequence[Guard],
        metrics: Metrics,
        path: Path | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        taken: Callable[[Policies], None] = lambda _: None,
    ) -> None:
        self._guards, self._coverage = tuple(guards), coverage_of(guards)
        self._metrics, self._path, self._now, self._taken = metrics, path, now, taken
        self._seen: bytes | str | None = None  # what the last look found: the file, or why it could not be read
        self._tried: bytes | str | None = None  # what was last taken or rejected
        self.rejected: Rejected | None = None
        self._swap(policies)

    def __call__(self, caller: Caller) -> Policy:
        return self.policies.of(caller.tenant, caller.key_id, self._now())

    def told(self, caller: Caller, faults: bool) -> Json:
        """Which file is in force since when, and which overlays make the caller's policy; `faults` with all details."""
        source: Source = self.policies.source(caller.tenant, caller.key_id, self._now())
        rejected = self.rejected and {"at": self.rejected.at.isoformat()} | (
            {"faults": self.rejected.faults} if faults else {}
        )
        file = {"digest": self.policies.digest, "loaded_at": self.loaded_at.isoformat(), "rejected": rejected}
        return {"overlays": source._asdict(), "file": file}

    def faults(self, guards: Sequence[Guard]) -> list[str]:
        """What the policies in force would miss if these were the guards."""
        return self.policies.faults(coverage_of(guards), reach_of(guards))

    def judged_by(self, guards: Sequence[Guard]) -> None:
        """From now on a changed file is checked against these, and the metric tells of them."""
        self._guards, self._coverage = tuple(guards), coverage_of(guards)
        self._tell()

    async def watch(self, every_s: float, nudged: asyncio.Event) -> None:
        """Looks at the file for ever; at once when `nudged`, and then it takes what it finds without a second look."""
        while self._path is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(every_s):  # wait_for of Python 3.11 may swallow a cancel, and never end
                    await nudged.wait()
            at_once = nudged.is_set()
            nudged.clear()
            try:
                await self.look(self._path, at_once)
            except Exception as error:  # the watch must not end: what is in force stays
                log.error("policy_watch_failed", error=type(error).__name__)

    async def look(self, path: Path, at_once: bool = False) -> None:
        """Takes the file if it is another one than before. Half-written ones are none: two looks must find the same."""
        found = await asyncio.to_thread(_read, path)
        settled, self._seen = found == self._seen or at_once, found
        if not settled or (found == self._tried and not at_once):
            return
        self._tried = found
        try:
            policies = await asyncio.to_thread(self._checked, found, path)
        except PolicyError as error:
            self.rejected = Rejected(self._now(), str(error))
            self._metrics.policy_reloads.labels("rejected").inc()
            log.error("policy_rejected", faults=str(error), digest=self.policies.digest)
            return
        self.rejected = None
        if policies.digest != self.policies.digest:
            self._swap(policies)
            self._metrics.policy_reloads.labels("loaded").inc()
            log.info("policy_loaded", policy=policies.base.name, version=policies.base.version, digest=policies.digest)

    def _checked(self, found: bytes | str, path: Path) -> Policies:
        if isinstance(found, str):
            raise PolicyError(f"{path}: cannot be read: {found}")
        try:
            policies = parse_file(found.decode(), str(path))
        except UnicodeDecodeError as error:
            raise PolicyError(f"{path}: cannot be read: {error}") from error
        if faults := policies.faults(self._coverage, reach_of(self._guards)):
            raise PolicyError(f"{path} cannot be used with these guards:" + "".join(f"\n  {fault}" for fault in faults))
        return policies

    def _swap(self, policies: Policies) -> None:
        self.policies, self.loaded_at = policies, self._now()
        self._taken(policies)
        self._tell()

    def _tell(self) -> None:
        guards = [(g.name, g.version, g.digest) for g in self._guards]
        self._metrics.in_force([self.policies.file], guards)


def _read(path: Path) -> bytes | str:
    try:
        return path.read_bytes()
    except OSError as error:
        return error.strerror or type(error).__name__
