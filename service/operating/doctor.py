"""Looks at everything a gateway needs before it serves, one finding each, with what to do. Changes nothing."""

import asyncio
import difflib
import os
import shutil
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import aiohttp
import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from guards.policy import Policy, PolicyError, load_file
from service.app import StartError, checked
from service.engine import EngineError
from service.engine.install import installed
from service.engine.places import by_dns, places, resolved
from service.gate.exchange import Role
from service.ledger.crypto import SealError
from service.ledger.keys import KeyRing
from service.ledger.ledger import open_store
from service.ledger.store import Store
from service.ledger.verify import read_file, spool_files
from service.settings import Settings

Level = Literal["ok", "warn", "fail"]
PREFIX: Final = "SLUICEGATE_"
ELSEWHERE: Final = frozenset({"DATA", "PROVE", "REVIEWER"})  # read by training, tests and the terminal's review
CLOCKS_APART_S: Final = 2.0
OLD_EVENTS_S: Final = 3600.0
TIMEOUT: Final = aiohttp.ClientTimeout(total=5)


@dataclass(frozen=True, slots=True)
class Finding:
    """`fail`: the service cannot start or record so. `warn`: it can, and somebody should know."""

    what: str
    level: Level
    said: str
    to_do: str = ""


async def examine(environment: Mapping[str, str] | None = None) -> AsyncIterator[Finding]:
    """Findings as they are made: settings first, since the rest rests on them."""
    for finding in _environment(os.environ if environment is None else environment):
        yield finding
    try:
        settings = Settings()
    except ValidationError as error:
        for fault in error.errors():
            name = PREFIX + "_".join(map(str, fault["loc"])).upper()
            yield Finding("settings", "fail", f"{name}: {fault['msg']}", "see docs/settings.md")
        return
    yield Finding("settings", "ok", f"read; state lives in {settings.home}")
    looks: tuple[Callable[[Settings], AsyncIterator[Finding]], ...] = (_home, _judging, _ledger, _engine, _running)
    for look in looks:
        async for finding in look(settings):
            yield finding


def _environment(environment: Mapping[str, str]) -> Iterator[Finding]:
    known = {name.upper() for name in Settings.model_fields} | ELSEWHERE
    for name in sorted(n.removeprefix(PREFIX) for n in environment if n.startswith(PREFIX)):
        if name not in known:
            like = difflib.get_close_matches(name, known, 1)
            to_do = f"did you mean {PREFIX}{like[0]}?" if like else "see docs/settings.md"
            yield Finding("settings", "warn", f"{PREFIX}{name} is no setting and is not read", to_do)


async def _home(settings: Settings) -> AsyncIterator[Finding]:
    home = settings.home
    there = next(path for path in (home, *home.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        yield Finding("home", "fail", f"{there} cannot be written to", "change its owner, or set SLUICEGATE_HOME")
        return
    free_mb = shutil.disk_usage(there).free // 1_000_000
    needed_mb = settings.spool_limit_mb
    to_do = "free some, or set SLUICEGATE_HOME elsewhere, or a smaller SLUICEGATE_SPOOL_LIMIT_MB"
    if free_mb < settings.spool_reserve_mb:
        yield Finding("disk", "fail", f"{free_mb} MB free: nothing could be recorded", to_do)
    elif free_mb < needed_mb:
        yield Finding("disk", "warn", f"{free_mb} MB free, the spool may grow to {needed_mb} MB", to_do)
    else:
        yield Finding("disk", "ok", f"{free_mb} MB free, the spool may grow to {needed_mb} MB")
    for path in (home / "master.key", home / "sluicegate.db"):
        if path.exists() and path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
            yield Finding("home", "warn", f"{path} is open to everybody on this machine", f"run: chmod 600 {path}")


async def _judging(settings: Settings) -> AsyncIterator[Finding]:
    try:
        guarded = await asyncio.to_thread(checked, settings)
    except StartError as error:
        yield Finding("policy", "fail", str(error), "run: sluicegate policy check; sluicegate guards check")
        return
    for guard in guarded.guards:
        yield Finding("guard", "ok", f"{guard.name} {guard.version}, {guard.digest[:12]}")
    policy = guarded.policy
    yield Finding("policy", "ok", f"{policy.name} version {policy.version}, {guarded.policies.digest[:12]}")
    for said, to_do in _lenient(policy):
        yield Finding("policy", "warn", said, to_do)


def _lenient(policy: Policy) -> Iterator[tuple[str, str]]:
    rules = [*policy.input.values(), *policy.output.values()]
    if all(rule.mode == "shadow" for rule in rules):
        yield "it only watches: nothing is refused or redacted", "mode: enforce, when you trust what it would do"
    if policy.on_error != "refuse":
        yield f"a guard that fails leads to {policy.on_error}: text that nobody judged leaves", "on_error: refuse"


async def _ledger(settings: Settings) -> AsyncIterator[Finding]:
    if settings.database_url is None and not (settings.home / "sluicegate.db").exists():
        yield Finding("database", "ok", "none yet: the first start makes it, and its master key, under SLUICEGATE_HOME")
        return
    if settings.master_key is None and not (settings.home / "master.key").exists():
        said = f"none, in SLUICEGATE_MASTER_KEY or {settings.home}"
        yield Finding("master key", "fail", said, "set it; all that share the database share it: docs/deploy.md")
        return
    try:
        store = open_store(settings)
    except SealError as error:
        yield Finding("master key", "fail", str(error), "without it no stored text can be read")
        return
    try:
        async with asyncio.timeout(10):
            if await store.current():
                yield Finding("database", "ok", f"{store.engine.dialect.name}, tables of this version")
                async for finding in _stored(store):
                    yield finding
            else:
                level: Level = "warn" if store.engine.dialect.name == "sqlite" else "fail"
                to_do = "back up, then run: sluicegate ledger migrate (SQLite is migrated by the next start)"
                yield Finding("database", level, "its tables are of another version", to_do)
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        lines = str(getattr(error, "orig", None) or error).splitlines() or ["no answer within 10 seconds"]
        yield Finding("database", "fail", lines[0], "check SLUICEGATE_DATABASE_URL, and that the database runs")
    finally:
        await store.close()
    for finding in await asyncio.to_thread(lambda: list(_spool(settings.spool))):
        yield finding


async def _stored(store: Store) -> AsyncIterator[Finding]:
    if store.engine.dialect.name == "postgresql":
        async with store.read() as session:
            before = time.time()
            theirs = float(await session.scalar(sa.text("SELECT extract(epoch FROM clock_timestamp())")) or 0)
            apart_s = abs(theirs - (before + time.time()) / 2)
        level: Level = "ok" if apart_s < CLOCKS_APART_S else "warn"
        said = f"{apart_s:.1f} s apart from the database's"
        yield Finding("clock", level, said, "" if level == "ok" else "leases and targets go by it: run NTP on both")
    roles = {record.role for record in await KeyRing(store).list() if record.revoked_at is None}
    if Role.CLIENT in roles:
        yield Finding("keys", "ok", f"there are keys of {', '.join(sorted(roles))}")
    else:
        yield Finding("keys", "ok", "no client key is stored: one of the settings, or one made at the first start")


def _spool(folder: Path) -> Iterator[Finding]:
    files = [(read_file(path, running)[0], path) for path, running in spool_files(folder)]
    if damaged := [f.name for f, _ in files if f.damaged_bytes]:
        yield Finding("spool", "warn", f"damaged records in {', '.join(damaged)}", "run: sluicegate ledger verify")
    old = [p for f, p in files if f.records and time.time() - p.stat().st_mtime > OLD_EVENTS_S]
    if old:
        to_do = "run: sluicegate ledger ship (it needs the database)"
        yield Finding("spool", "warn", f"{len(old)} files hold events for over an hour", to_do)
    else:
        yield Finding("spool", "ok", f"{sum(f.records for f, _ in files)} events that await the database")


async def _engine(settings: Settings) -> AsyncIterator[Finding]:
    if not settings.engine_url:
        if installed(settings.engine_env):
            yield Finding("engine", "ok", f"vLLM in {settings.engine_env}; serve starts it")
        else:
            said = f"no vLLM of this version in {settings.engine_env}"
            yield Finding("engine", "fail", said, "run: sluicegate engine install, or set SLUICEGATE_ENGINE_URL")
        return
    key = settings.engine_key.get_secret_value() if settings.engine_key else None
    try:
        at = [place for named in places(settings.engine_url) for place in await resolved(named, by_dns)]
    except (EngineError, OSError) as error:
        yield Finding("engine", "fail", str(error), "check SLUICEGATE_ENGINE_URL")
        return
    if not at:
        yield Finding("engine", "fail", "its name leads nowhere", "check SLUICEGATE_ENGINE_URL and DNS")
    async with aiohttp.ClientSession(timeout=TIMEOUT, headers=_bearer(key)) as session:
        for place in at:
            yield await _engine_at(session, place.name, place.url)


async def _engine_at(session: aiohttp.ClientSession, name: str, url: str) -> Finding:
    try:
        async with session.get(f"{url}/v1/models") as answer:
            if answer.status == 200:
                models = ", ".join(str(m.get("id")) for m in (await answer.json())["data"])
                return Finding("engine", "ok", f"{name} serves {models}")
            to_do = "check SLUICEGATE_ENGINE_KEY" if answer.status in (401, 403) else "look at the engine's log"
            return Finding("engine", "fail", f"{name} answers {answer.status}", to_do)
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
        return Finding("engine", "fail", f"{name}: {type(error).__name__}", "is it up, and reachable from here?")


async def _running(settings: Settings) -> AsyncIterator[Finding]:
    """A gateway that runs already: has it the policy of the file?"""
    with socket.socket() as probe:
        probe.settimeout(1)
        taken = settings.port != 0 and probe.connect_ex((settings.host, settings.port)) == 0
    if not taken:
        yield Finding("gateway", "ok", f"port {settings.port} is free")
        return
    url = f"http://{settings.host}:{settings.port}"
    key = settings.admin_key.get_secret_value() if settings.admin_key else None
    async with aiohttp.ClientSession(timeout=TIMEOUT, headers=_bearer(key)) as session:
        try:
            async with session.get(f"{url}/health/ready") as answer:
                ready = answer.status == 200 and "status" in await answer.json()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            ready = False
        if not ready:
            said = f"something answers on port {settings.port}, and it is no gateway that is ready"
            yield Finding("gateway", "warn", said, "look at /health/ready, or choose another SLUICEGATE_PORT")
            return
        yield Finding("gateway", "ok", f"one is ready at {url}")
        if key is not None:
            yield await _same_policy(session, url, settings)


async def _same_policy(session: aiohttp.ClientSession, url: str, settings: Settings) -> Finding:
    async with session.get(f"{url}/v1/coverage") as answer:
        told = await answer.json() if answer.status == 200 else {}
    in_force = told.get("policy", {}).get("file", {}).get("digest")
    if in_force is None:
        return Finding("gateway", "warn", "it does not say which policy is in force", "check SLUICEGATE_ADMIN_KEY")
    try:
        mine = load_file(settings.policy).digest
    except PolicyError:
        return Finding("gateway", "warn", f"it has policy {in_force[:12]}, and the file is wrong", "see policy above")
    if mine == in_force:
        return Finding("gateway", "ok", f"it has the policy of the file, {mine[:12]}")
    to_do = "was the file rejected? /v1/coverage says why; is SLUICEGATE_POLICY the same here?"
    return Finding("gateway", "warn", f"it has policy {in_force[:12]}, the file is {mine[:12]}", to_do)


def _bearer(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}
