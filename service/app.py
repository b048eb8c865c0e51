"""Builds everything once; the only file that knows which client is real."""

import asyncio
import gc
import platform
from collections.abc import AsyncIterator, Coroutine, Iterator
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
from service.engine.pool import Connect, opened
from service.gate.exchange import Caller, LedgerUnavailable, Role
from service.gate.pipeline import Gate
from service.judges import BatchedJudges
from service.learning.adapters import AdaptersInForce
from service.learning.in_force import JudgesInForce
from service.learning.standing import Load, Watch, guard_of
from service.ledger.crypto import SealError
from service.ledger.keys import KeyRing
from service.ledger.ledger import SqlLedger
from service.ledger.policies import PolicyNotes
from service.ledger.store import StoreError
from service.policies import PoliciesInForce, coverage_of, reach_of
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.transport import HttpTransport
from service.watches import (
    OFTEN_S,
    QUALITY_S,
    QUEUES_S,
    AuditWatch,
    EngineWatch,
    LedgerWatch,
    QualityWatch,
    QueuesWatch,
    every,
)

if TYPE_CHECKING:
    from service.telemetry.tracing import Tracing

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
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(_recording(settings))
        judges = await stack.enter_async_context(BatchedJudges(guarded.guards, metrics))
        tracing = tracing or _tracing(settings)
        connect = _connecting(settings, engine_key, ledger, tracing)
        engine = await stack.enter_async_context(opened(engine_url, connect, metrics))
        notes = PolicyNotes(ledger.store, platform.node())
        policies = PoliciesInForce(guarded.policies, guarded.guards, metrics, guarded.path, taken=notes.take)
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
        engine_watch = EngineWatch(engine, metrics)
        for watch in (
            every(OFTEN_S, engine_watch),
            *_watching(ledger, metrics),
            every(OFTEN_S, notes),
            registry.run(settings.registry_watch_s),
            policies.watch(settings.policy_watch_s, nudged or asyncio.Event()),
        ):
            stack.push_async_callback(_ended, asyncio.create_task(watch))
        if settings.metrics_port is not None:
            exporter, _ = start_http_server(settings.metrics_port, "127.0.0.1", metrics.registry)
            stack.callback(exporter.shutdown)
        api = Api(
            gate,
            keys,
            settings,
            metrics,
            learned.guards,
            ready=lambda: ledger.writable,
            told=lambda caller: policies.told(caller, faults=caller.role in (Role.OPERATOR, Role.ADMIN)),
            store=ledger.store,
            engine_up=lambda: engine_watch.up,
            learned=lambda: learned.told() + adapters.told(),
        )
        if tracing:
            stack.push_async_callback(asyncio.to_thread, tracing.stop)
        yield (_traced(api, tracing) if tracing else create_api(api)), made


def settle() -> None:
    """Once a process serves: what is there by now stays; the garbage collector leaves it alone and looks less often.

    Requests and events hold no cycles; a look at everything stops every stream for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


@asynccontextmanager
async def _recording(settings: Settings) -> AsyncIterator[SqlLedger]:
    try:
        ledger = SqlLedger(settings)
        await ledger.start()
    except (LedgerUnavailable, StoreError, SealError) as error:
        raise StartError(str(error)) from error
    try:
        yield ledger
    finally:
        await ledger.stop()


def _watching(ledger: SqlLedger, metrics: Metrics) -> Iterator[Coroutine[None, None, None]]:
    yield every(OFTEN_S, LedgerWatch(ledger, metrics))
    yield every(QUEUES_S, QueuesWatch(ledger.store, metrics))
    yield every(QUEUES_S, AuditWatch(ledger.store, metrics))
    yield every(QUALITY_S, QualityWatch(ledger.store, metrics))


def _connecting(settings: Settings, key: str | None, ledger: SqlLedger, tracing: "Tracing | None") -> Connect:
    return partial(
        VllmClient,
        key=key,
        carry=tracing.carried if tracing else None,
        idle_timeout_s=settings.engine_idle_timeout_s,
        salt_key=ledger.store.vault.keyed_hash("cache salt", "").encode(),
    )


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


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
