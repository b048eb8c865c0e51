"""Several engines as one: chosen by load and prefix, probed, left out while they fail.

A request goes elsewhere only while nothing of its answer has come. After that the client reads how far it got, and the
error: what was shown is never generated twice.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import Final, TypeVar

import structlog

from service.engine.adapters import Adapted
from service.engine.choosing import Seen, choose, cost_of, prefix_of
from service.engine.client import VllmClient
from service.engine.places import Place, Resolve, by_dns, places, resolved
from service.gate.exchange import Delta, Endpoint, EngineUnavailable, Json
from service.telemetry.metrics import Metrics

LOOK_S: Final = 2.0  # between probes
NUDGED_S: Final = 0.1  # at least so long between two, however many requests fail
FAILURES: Final = 2  # in a row, then an engine is left out until a probe succeeds
ATTEMPTS: Final = 2  # a request that brings engines down must not go through all of them
T = TypeVar("T")
Connect = Callable[[str], VllmClient]
log = structlog.get_logger(__name__)


@asynccontextmanager
async def opened(url: str, connect: Connect, metrics: Metrics) -> "AsyncIterator[VllmClient | EnginePool]":
    """What SLUICEGATE_ENGINE_URL names: the one engine itself, or a pool. Raises EngineError."""
    at = places(url)
    if len(at) == 1 and not at[0].named:
        client = connect(at[0].url)
        try:
            yield client
        finally:
            await client.close()
        return
    async with EnginePool(at, connect, metrics) as pool:
        yield pool


class _Member:
    """One engine of a pool."""

    def __init__(self, place: Place, client: VllmClient, metrics: Metrics) -> None:
        self.name, self.client, self._metrics = place.name, client, metrics
        self._tokens = self._failures = self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._show()

    @property
    def seen(self) -> Seen:
        return Seen(self.name, self._tokens, self._failures < FAILURES)

    @contextmanager
    def busy(self, tokens: int) -> Iterator[None]:
        self._tokens, self._open = self._tokens + tokens, self._open + 1
        self._idle.clear()
        self._show()
        try:
            yield
        finally:
            self._tokens, self._open = self._tokens - tokens, self._open - 1
            if not self._open:
                self._idle.set()
            self._show()

    def answered(self) -> None:
        self._failures = 0
        self._show()

    def failed(self) -> None:
        was = self.seen.up
        self._failures += 1
        self._show()
        if was and not self.seen.up:
            log.warning("engine_left_out", engine=self.name)

    async def probe(self) -> None:
        """A probe that succeeds lets requests come again; only one that is answered shows that all is well."""
        if not await self.client.ready():
            self.failed()
            return
        if not self.seen.up:
            log.info("engine_back", engine=self.name)
        self._failures = min(self._failures, FAILURES - 1)
        self._show()

    async def leave(self) -> None:
        """Closes the connections when the last stream has ended."""
        await self._idle.wait()
        await self.client.close()
        for gauge in (self._metrics.pool_engine_up, self._metrics.pool_engine_tokens):
            with suppress(KeyError):
                gauge.remove(self.name)

    def _show(self) -> None:
        self._metrics.pool_engine_up.labels(self.name).set(self.seen.up)
        self._metrics.pool_engine_tokens.labels(self.name).set(self._tokens)


class EnginePool:
    """`service.gate.exchange.Engine` over several. Use as an async context manager: it looks after them in a task."""

    def __init__(
        self,
        at: Sequence[Place],
        connect: Connect,
        metrics: Metrics,
        *,
        resolve: Resolve = by_dns,
        look_s: float = LOOK_S,
    ) -> None:
        self._at, self._connect, self._metrics = at, connect, metrics
        self._resolve, self._look_s = resolve, look_s
        self._behind: dict[Place, list[Place]] = {p: [] if p.named else [p] for p in at}
        self._members: dict[str, _Member] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._nudged = asyncio.Event()

    async def __aenter__(self) -> "EnginePool":
        await self._find()
        self._tending = asyncio.create_task(self._tend())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._tending, *self._leaving):
            task.cancel()
        await asyncio.gather(self._tending, *self._leaving, return_exceptions=True)
        await asyncio.gather(*(m.client.close() for m in self._members.values()))

    async def stream(self, endpoint: Endpoint, body: Json, tenant: str) -> AsyncIterator[Delta]:
        """As one engine's. Asked a second time, elsewhere, when the first failed before anything came."""
        begun = False
        for member, tokens in self._turns(body, tenant):
            try:
                with member.busy(tokens):
                    async with aclosing(member.client.stream(endpoint, body, tenant)) as deltas:  # type: ignore[type-var]
                        async for delta in deltas:
                            begun = True
                            yield delta
                member.answered()
                return
            except EngineUnavailable as error:
                self._failed(member)
                if begun:
                    raise
                failure = error
        raise failure

    async def embed(self, body: Json) -> Json:
        return await self._asked(lambda client: client.embed(body), body)

    async def models(self) -> list[Json]:
        return await self._asked(lambda client: client.models(), {"prompt": ""})

    async def adapt(self, wanted: Mapping[str, str], gone: Collection[str]) -> Adapted:
        """As one engine's, on each that answers; loaded is what all of these have. Raises EngineUnavailable: none."""
        asked = (m.client.adapt(wanted, gone) for m in self._members.values() if m.seen.up)
        found = [a for a in await asyncio.gather(*asked, return_exceptions=True) if isinstance(a, Adapted)]
        if not found:
            raise EngineUnavailable("No engine answers.")
        return Adapted(frozenset.union(*(a.base for a in found)), frozenset.intersection(*(a.loaded for a in found)))

    async def ready(self) -> bool:
        """Whether one of them answers, as far as is known: asking takes no time."""
        return any(m.seen.up for m in self._members.values())

    async def _asked(self, ask: Callable[[VllmClient], Awaitable[T]], body: Json) -> T:
        for member, tokens in self._turns(body, ""):
            try:
                with member.busy(tokens):
                    answer = await ask(member.client)
                member.answered()
                return answer
            except EngineUnavailable as error:
                self._failed(member)
                failure = error
        raise failure

    def _turns(self, body: Json, tenant: str) -> Iterator[tuple[_Member, int]]:
        """The engines to ask and the tokens to count; the next is chosen when the one before has failed.

        Raises:
            EngineUnavailable: there is none.
        """
        prefix, cost, tried = prefix_of(tenant, body), cost_of(body), list[str]()
        while len(tried) < ATTEMPTS:
            name = choose([m.seen for m in self._members.values()], prefix, cost, tried)
            if name is None:
                break
            if tried:
                self._metrics.pool_retries.inc()
            tried.append(name)
            yield self._members[name], cost
        if not tried:
            raise EngineUnavailable("No engine is known. Is the name in DNS?")

    def _failed(self, member: _Member) -> None:
        member.failed()
        self._nudged.set()

    async def _tend(self) -> None:
        while True:
            await asyncio.gather(*(m.probe() for m in self._members.values()))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_s):  # wait_for of Python 3.11 may swallow our end
                    await self._nudged.wait()
            await asyncio.sleep(NUDGED_S)
            self._nudged.clear()
            await self._find()

    async def _find(self) -> None:
        """Takes in what DNS added, lets go what it dropped. A name that cannot be resolved keeps what it had."""
        for place in self._at:
            try:
                self._behind[place] = await resolved(place, self._resolve)
            except (OSError, TimeoutError) as error:
                log.warning("engines_unresolved", name=place.name, error=type(error).__name__)
        wanted = {p.name: p for found in self._behind.values() for p in found}
        for name in self._members.keys() - wanted.keys():
            task = asyncio.create_task(self._members.pop(name).leave())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        for name in wanted.keys() - self._members.keys():
            self._members[name] = _Member(wanted[name], self._connect(wanted[name].url), self._metrics)
