"""Builds everything once; the only file that knows which client is real."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from fastapi import FastAPI
from prometheus_client import start_http_server
from sqlalchemy.exc import SQLAlchemyError

from guards.guard import Guard, GuardError
from guards.language import LANGUAGE, LanguageGuard
from guards.policy import Policies, Policy, PolicyError, load_file
from guards.registry import GuardsFile, Loading, build, read
from service.api import create_api
from service.api.deps import Api, Keys
from service.engine.client import VllmClient
from service.engine.pool import opened
from service.gate.exchange import Caller, Json, LedgerUnavailable, Role
from service.gate.pipeline import Gate
from service.judges import BatchedJudges
from service.learning.adapters import AdaptersInForce
from service.learning.in_force import JudgesInForce
from service.learning.standing import Load, Watch, guard_of
from service.ledger.crypto import SealError
from service.ledger.keys import KeyRing
from service.ledger.ledger import SqlLedger
from service.ledger.shipper import Stats
from service.ledger.store import Store, StoreError
from service.policies import PoliciesInForce, coverage_of, reach_of
from service.review.entries import counts
from service.review.quality import Quality, quality
from service.review.reviewer import Reviewer
from service.review.reviewer import Role as Duty
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.transport import HttpTransport

if TYPE_CHECKING:
    from service.telemetry.tracing import Tracing

WATCH_S: Final = 5.0
QUEUES_S: Final = 20.0
QUALITY_S: Final = 300.0
DEFAULT_TENANT: Final = "default"
IN_FORCE: Final = "in_force.json"  # under home: which versions the database named last
log = structlog.get_logger(__name__)


class StartError(Exception):
    """The service cannot start. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """Policies and guards that cover them. `path` is the file to watch; None: they never change."""

    policies: Policies
    guards: tuple[Guard, ...]
    path: Path | None = None

    @property
    def policy(self) -> Policy:
        """What holds for whom nothing differs."""
        return self.policies.base


def checked(settings: Settings) -> Guarded:
    """Loads the policies and all guards.

    Raises:
        StartError: a policy is wrong, a guard cannot be loaded, or a policy names what no guard judges.
    """
    try:
        policies = load_file(settings.policy)
        guards = load_guards(settings)
    except (PolicyError, GuardError) as error:
        raise StartError(str(error)) from error
    if faults := policies.faults(coverage_of(guards), reach_of(guards)):
        raise StartError(f"{settings.policy} cannot be used with these guards:\n  " + "\n  ".join(faults))
    return Guarded(policies, guards, settings.policy)


def load_guards(settings: Settings) -> tuple[Guard, ...]:
    """All guards that a policy may use, now or after a change, and the one that tells languages. Raises GuardError."""
    at = settings.guards
    loading = Loading(
        at.parent if at else Path(), settings.guard_threads, settings.guard_batch_tokens, connect=HttpTransport
    )
    guards = build(read(at) if at else GuardsFile(), loading)
    if LANGUAGE in guards:
        raise GuardError(f"{at}: {LANGUAGE!r} is the guard that tells languages; name yours otherwise")
    return *guards.values(), LanguageGuard()


@asynccontextmanager
async def assembled(
    settings: Settings,
    guarded: Guarded,
    engine_url: str,
    engine_key: str | None,
    nudged: asyncio.Event | None = None,
    tracing: "Tracing | None" = None,
) -> AsyncIterator[tuple[FastAPI, dict[str, str]]]:
    """The running service: its ASGI app, and the keys made at this start (role -> key), to be shown once.

    When `nudged` is set the policy file is looked at, without waiting for the next time.
    """
    metrics, state = Metrics(), _State()
    async with AsyncExitStack() as stack:
        try:
            ledger = SqlLedger(settings)
            await ledger.start()
        except (LedgerUnavailable, StoreError, SealError) as error:
            raise StartError(str(error)) from error
        stack.push_async_callback(ledger.stop)
        judges = await stack.enter_async_context(BatchedJudges(guarded.guards, metrics))
        tracing = tracing or _tracing(settings)
        connect = partial(
            VllmClient,
            key=engine_key,
            carry=tracing.carried if tracing else None,
            idle_timeout_s=settings.engine_idle_timeout_s,
            salt_key=ledger.store.vault.keyed_hash("cache salt", "").encode(),
        )
        engine = await stack.enter_async_context(opened(engine_url, connect, metrics))
        policies = PoliciesInForce(guarded.policies, guarded.guards, metrics, guarded.path)
        learned = JudgesInForce(judges, guarded.guards, policies, ledger, metrics, _loading(settings))
        stack.push_async_callback(learned.stop)
        adapters = AdaptersInForce(engine, settings.registry_folder, metrics)
        registry = Watch(ledger.store, settings.home / IN_FORCE, metrics, learned.take, adapters.take)
        await registry.look()
        gate = Gate(
            engine,
            learned,
            ledger,
            policies,
            metrics,
            max_exchanges=settings.max_exchanges,
            early_exchanges=settings.early_exchanges,
            max_prompt_chars=settings.max_prompt_chars,
            adapted=adapters,
            beside=learned.beside,
        )
        keys, made = await _keys(settings, ledger)
        watches = (
            _watch_engine(gate, metrics, state),
            _watch_ledger(ledger, metrics),
            _watch_queues(ledger.store, metrics),
            _watch_review(ledger.store, metrics),
            registry.run(settings.registry_watch_s),
            policies.watch(settings.policy_watch_s, nudged or asyncio.Event()),
        )
        for watch in watches:
            stack.push_async_callback(_ended, asyncio.create_task(watch))

        if settings.metrics_port is not None:
            exporter, _ = start_http_server(settings.metrics_port, "127.0.0.1", metrics.registry)
            stack.callback(exporter.shutdown)

        def at_work() -> list[Json]:
            return learned.told() + adapters.told()

        def told(caller: Caller) -> Json:
            return policies.told(caller, faults=caller.role in (Role.OPERATOR, Role.ADMIN))

        def ready() -> bool:
            return ledger.writable

        def engine_up() -> bool:
            return state.engine_up

        api = Api(gate, keys, settings, metrics, learned.guards, ready, told, ledger.store, engine_up, at_work)
        if tracing:
            stack.push_async_callback(asyncio.to_thread, tracing.stop)
        yield (_traced(api, tracing) if tracing else create_api(api)), made


def _tracing(settings: Settings) -> "Tracing | None":
    """None where it is off: nothing of it is on anybody's way then. Raises StartError."""
    if not settings.tracing:
        return None
    try:
        from service.telemetry.tracing import Tracing
    except ImportError as error:
        raise StartError("SLUICEGATE_TRACING needs OpenTelemetry: pip install 'sluicegate[tracing]'") from error
    return Tracing()


def _traced(api: Api, tracing: "Tracing") -> FastAPI:
    from service.telemetry.tracing import Traced
    from service.traced import TracedKeys, around

    around(api.gate, tracing)
    app = create_api(replace(api, keys=TracedKeys(api.keys, tracing)))
    app.add_middleware(Traced, tracing=tracing)
    return app


def _loading(settings: Settings) -> Load:
    return guard_of(settings.registry_folder, settings.guard_threads, settings.guard_batch_tokens)


async def _keys(settings: Settings, ledger: SqlLedger) -> tuple[Keys, dict[str, str]]:
    """Keys of the settings beside those of the ledger; at the very first start, a role that has neither gets one."""
    roles = ((Role.CLIENT, settings.client_key), (Role.ADMIN, settings.admin_key))
    given = {
        key.get_secret_value(): Caller(f"key_{role}", DEFAULT_TENANT, role) for role, key in roles if key is not None
    }
    keys, made = KeyRing(ledger.store, given), {}
    try:
        known = {record.role for record in await keys.list()}
        for role, key in roles:
            if key is None and role not in known:
                made[role.value], _ = await keys.create(DEFAULT_TENANT, role, "made at the first start")
    except (SQLAlchemyError, OSError) as error:
        log.error("keys_unreadable", error=type(error).__name__)
    return keys, made


@dataclass(slots=True)
class _State:
    """What was seen when it was last looked at."""

    engine_up: bool = True


async def _watch_engine(gate: Gate, metrics: Metrics, state: _State) -> None:
    while True:
        state.engine_up = await gate.engine.ready()
        metrics.engine_up.set(state.engine_up)
        await asyncio.sleep(WATCH_S)


async def _watch_ledger(ledger: SqlLedger, metrics: Metrics) -> None:
    """Refreshes what cannot be counted as it happens. Apart from the engine: a database may keep silent for long."""
    while True:
        try:
            _show(await ledger.stats(), metrics)
        except Exception as error:  # figures are not worth the service
            log.error("figures_unreadable", error=type(error).__name__)
        await asyncio.sleep(WATCH_S)


async def _watch_queues(store: Store, metrics: Metrics) -> None:
    """What waits, often enough for targets of minutes."""
    everybody = Reviewer("metrics", frozenset(Duty))
    while True:
        try:
            for count in await counts(store, everybody):
                metrics.review_oldest_seconds.labels(count.queue).set(count.oldest_s)
                metrics.review_overdue.labels(count.queue).set(count.overdue)
                metrics.review_late_seconds.labels(count.queue).set(count.late_s)
        except Exception as error:  # figures are not worth the service
            log.error("queue_figures_unreadable", error=type(error).__name__)
        await asyncio.sleep(QUEUES_S)


async def _watch_review(store: Store, metrics: Metrics) -> None:
    """How review goes: too much to count as often as the rest."""
    while True:
        try:
            show_quality(await quality(store, draws=1), metrics)
        except Exception as error:  # figures are not worth the service
            log.error("review_figures_unreadable", error=type(error).__name__)
        await asyncio.sleep(QUALITY_S)


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


def _show(stats: Stats, metrics: Metrics) -> None:
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


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
