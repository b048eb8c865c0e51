"""What cannot be counted as it happens, put into the metrics now and then. None of it is worth the service."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from service.gate.exchange import Engine
from service.ledger import audit
from service.ledger.ledger import SqlLedger
from service.ledger.store import Store
from service.review.entries import counts
from service.review.quality import Quality, quality
from service.review.reviewer import Reviewer, Role
from service.telemetry.metrics import Metrics

OFTEN_S: Final = 5.0
QUEUES_S: Final = 20.0  # often enough for targets of minutes
QUALITY_S: Final = 300.0  # too much to count as often as the rest
AUDIT_ROWS: Final = 1000  # read at each look at the audit log
EVERYBODY: Final = Reviewer("metrics", frozenset(Role))
log = structlog.get_logger(__name__)


async def every(pause_s: float, look: Callable[[], Awaitable[None]]) -> None:
    """Looks for ever; a look that fails is logged, and the next one comes all the same."""
    while True:
        try:
            await look()
        except Exception as error:
            log.error("figures_unreadable", of=type(look).__name__, error=type(error).__name__)
        await asyncio.sleep(pause_s)


@dataclass(slots=True)
class EngineWatch:
    """`up`: what was seen at the last look. Apart from the ledger: a database may keep silent for long."""

    engine: Engine
    metrics: Metrics
    up: bool = True

    async def __call__(self) -> None:
        self.up = await self.engine.ready()
        self.metrics.engine_up.set(self.up)


@dataclass(frozen=True, slots=True)
class LedgerWatch:
    ledger: SqlLedger
    metrics: Metrics

    async def __call__(self) -> None:
        stats, metrics = await self.ledger.stats(), self.metrics
        metrics.spool_backlog.set(stats.records)
        metrics.spool_bytes.set(stats.bytes)
        metrics.spool_oldest_seconds.set(stats.oldest_s)
        metrics.spool_damaged_bytes.set(stats.damaged_bytes)
        metrics.spool_refused.set(stats.refused_exchanges)
        metrics.spool_room_bytes.set(stats.room_bytes)
        metrics.spool_short.set(stats.short)
        metrics.spool_shed.set(stats.shed_exchanges)
        metrics.database_up.set(stats.database_up)
        metrics.review_open.set(stats.review_open)


@dataclass(frozen=True, slots=True)
class QueuesWatch:
    """What waits for reviewers, and for how long."""

    store: Store
    metrics: Metrics

    async def __call__(self) -> None:
        for count in await counts(self.store, EVERYBODY):
            self.metrics.review_oldest_seconds.labels(count.queue).set(count.oldest_s)
            self.metrics.review_overdue.labels(count.queue).set(count.overdue)
            self.metrics.review_late_seconds.labels(count.queue).set(count.late_s)


@dataclass(frozen=True, slots=True)
class QualityWatch:
    """How review goes."""

    store: Store
    metrics: Metrics

    async def __call__(self) -> None:
        show_quality(await quality(self.store, draws=1), self.metrics)


@dataclass(slots=True)
class AuditWatch:
    """Walks along the audit log, a stretch at a look, and begins again at its end. A broken chain stays broken."""

    store: Store
    metrics: Metrics
    at: audit.Head = audit.START
    end: int = 0  # where the last walk ended
    found: set[str] = field(default_factory=set)

    async def __call__(self) -> None:
        found, at = await audit.faults(self.store, self.at, AUDIT_ROWS)
        if at == self.at:
            if at[0] < self.end:
                found.append(f"audit log: rows {at[0] + 1} to {self.end} are gone from its end")
            self.end, at = at[0], audit.START
        self.at = at
        for fault in set(found) - self.found:
            log.error("audit_log_broken", fault=fault)
        self.found |= set(found)
        self.metrics.audit_faults.set(len(self.found))


def show_quality(found: Quality, metrics: Metrics) -> None:
    """Puts figures of review into the metrics; what there is no figure of is left as it was."""
    for overturn in found.overturns:
        if (rate := overturn.over_block.rate) is not None:
            metrics.overturn_rate.labels(overturn.guard, overturn.category).set(rate.value)
    for queue, by_question in found.by_queue.items():
        for question, agreed in by_question.items():
            if (alpha := agreed.krippendorff.value) is not None:
                metrics.agreement.labels(queue, question).set(alpha)
    if (missed := found.missed.rate) is not None:
        for bound in ("low", "value", "high"):
            metrics.missed_rate.labels(bound).set(getattr(missed, bound))
