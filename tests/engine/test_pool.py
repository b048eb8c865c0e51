"""Several engines over real HTTP: who is asked, who is left out, what a client sees when one dies."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import structlog

from service.engine import EngineError
from service.engine.client import VllmClient
from service.engine.places import places
from service.engine.pool import EnginePool, opened
from service.gate.exchange import EngineRejected, EngineUnavailable
from service.telemetry.metrics import Metrics
from tests.engine.wires import Wire

BODY = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 16}


@asynccontextmanager
async def pooled(*wires: Wire, resolve=None, look_s: float = 0.05, idle_timeout_s: float = 5.0):
    """A pool over engines; the engines themselves are closed by `wires`."""
    url = ",".join(w.url for w in wires) or "dns+http://engines:8000"
    metrics, options = Metrics(), {"resolve": resolve} if resolve else {}
    pool = EnginePool(
        places(url), lambda u: VllmClient(u, idle_timeout_s=idle_timeout_s), metrics, look_s=look_s, **options
    )
    pool.metrics = metrics
    async with pool:
        yield pool


@pytest.fixture
async def wires():
    """Starts engines that answer with their own number."""
    async with AsyncExitStack() as stack:

        async def start(**how) -> Wire:
            return await stack.enter_async_context(Wire(**how))

        yield start


async def text(engine, body=BODY, tenant="t") -> str:
    return "".join([d.text async for d in engine.stream("chat", body, tenant)])


def asking(number: int) -> dict:
    return BODY | {"messages": [{"role": "user", "content": f"Question {number}"}]}


def shown(metrics: Metrics, name: str) -> dict[str, float]:
    samples = [s for m in metrics.registry.collect() for s in m.samples if s.name == f"sluicegate_{name}"]
    return {s.labels.get("engine", ""): s.value for s in samples}


async def until(fact, most_s: float = 5.0) -> None:
    async with asyncio.timeout(most_s):
        while not fact():
            await asyncio.sleep(0.01)


async def test_one_engine_is_no_pool(wires):
    """One address is asked without a pool between; a name, or two addresses, make one."""
    one = await wires(says="one")
    async with opened(one.url, VllmClient, Metrics()) as engine:
        assert type(engine) is VllmClient
        assert await text(engine) == "one"
    async with opened(f"{one.url},http://127.0.0.1:9", VllmClient, Metrics()) as engine:
        assert type(engine) is EnginePool


async def test_a_conversation_stays_and_many_are_spread(wires):
    """The same beginning is answered by the same engine; different ones use all of them."""
    a, b = await wires(says="a"), await wires(says="b")
    async with pooled(a, b) as pool:
        assert len({await text(pool) for _ in range(6)}) == 1
        assert {await text(pool, asking(i)) for i in range(20)} == {"a", "b"}


async def test_the_busy_one_is_spared(wires):
    """Requests of one beginning spill over to another engine when their own has more to do than its share."""
    a, b = await wires(says="a", pause_s=0.1), await wires(says="b", pause_s=0.1)
    async with pooled(a, b) as pool:
        said = await asyncio.gather(*(text(pool, BODY | {"max_tokens": 1000}) for _ in range(8)))
        assert {said.count("a"), said.count("b")} <= {3, 4, 5}
        assert set(shown(pool.metrics, "pool_engine_tokens").values()) == {0}


async def test_a_dead_engine_is_not_noticed(wires):
    """While one of two engines refuses connections every request is answered; it is left out, and comes back."""
    a, b = await wires(says="a"), await wires(says="b")
    async with pooled(a, b) as pool:
        await a.stop()
        assert {await text(pool, asking(i)) for i in range(20)} == {"b"}
        await until(lambda: shown(pool.metrics, "pool_engine_up") == {a.name: 0, b.name: 1})
        assert shown(pool.metrics, "pool_retries_total")[""] <= 2
        await a.start()
        await until(lambda: shown(pool.metrics, "pool_engine_up") == {a.name: 1, b.name: 1})
        assert {await text(pool, asking(i)) for i in range(20)} == {"a", "b"}


async def test_nothing_is_generated_twice(wires):
    """An engine that dies after its first words ends the stream with an error; the other is not asked."""
    a, b = await wires(says="a word", then="break"), await wires(says="a word", then="break")
    async with pooled(a, b) as pool:
        got = []

        async def read() -> None:
            async for delta in pool.stream("chat", BODY, "t"):
                got.append(delta.text)

        with pytest.raises(EngineUnavailable):
            await read()
        assert "".join(got) == "a word"
        assert len(a.asked) + len(b.asked) == 1


@pytest.mark.parametrize("then", ["refuse", "break at once", "500", "429"])
async def test_another_is_asked_before_the_first_word(wires, then):
    """Whatever goes wrong before the first word, the other engine answers."""
    a, b = await wires(says="a", then=then), await wires(says="b")
    async with pooled(a, b, look_s=60) as pool:
        assert {await text(pool, asking(i)) for i in range(8)} == {"b"}


async def test_two_attempts_at_most(wires):
    """A request that brings engines down is not taken through all of them."""
    engines = [await wires(then="break at once") for _ in range(4)]
    async with pooled(*engines, look_s=60) as pool:
        with pytest.raises(EngineUnavailable):
            await text(pool)
    assert sum(len(e.asked) for e in engines) == 2


async def test_the_callers_fault_is_asked_once(wires):
    """What one engine finds wrong with a request no other is asked, and no engine is left out for it."""
    a, b = await wires(then="400"), await wires(then="400")
    async with pooled(a, b, look_s=60) as pool:
        for _ in range(5):
            with pytest.raises(EngineRejected):
                await text(pool)
        assert len(a.asked) + len(b.asked) == 5
        assert set(shown(pool.metrics, "pool_engine_up").values()) == {1}


async def test_all_down_is_said_at_once_and_ends_by_itself(wires):
    """Without any engine every call fails at once; when one is back they are answered."""
    a, b = await wires(says="a"), await wires(says="b")
    async with pooled(a, b) as pool:
        await a.stop()
        await b.stop()
        await until(lambda: set(shown(pool.metrics, "pool_engine_up").values()) == {0})
        assert not await pool.ready()
        async with asyncio.timeout(2):
            for call in (text(pool), pool.models(), pool.embed({"model": "m", "input": "Hi"})):
                with pytest.raises(EngineUnavailable):
                    await call
        await b.start()
        await until(lambda: shown(pool.metrics, "pool_engine_up")[b.name] == 1)
        assert await text(pool) == "b"
        assert [m["id"] for m in await pool.models()] == ["m"]


async def test_a_client_that_leaves_leaves_no_trace(wires):
    """A stream that is closed in the middle ends at the engine, and its tokens are counted no more."""
    a, b = await wires(says="a" * 1000, pause_s=0.02), await wires(says="b" * 1000, pause_s=0.02)
    async with pooled(a, b) as pool:
        stream = pool.stream("chat", BODY, "t")
        await anext(stream)
        assert sum(shown(pool.metrics, "pool_engine_tokens").values()) > 0
        await stream.aclose()
        assert sum(shown(pool.metrics, "pool_engine_tokens").values()) == 0
        await until(lambda: a.open + b.open == 0)


async def test_names(wires):
    """Addresses of a name come and go; streams of one that goes end whole; a name that fails keeps what it had."""
    a = await wires(says="slowly " * 5, pause_s=0.1)
    b = await wires(says="b", host="127.0.0.2", port=a.port)
    known = ["127.0.0.1"]

    async def resolve(_host, _port):
        if not known:
            raise OSError("no such name")
        return known

    async with opened(f"dns+http://engines:{a.port}", VllmClient, Metrics()) as unknown:
        with pytest.raises(EngineUnavailable, match="DNS"):
            await text(unknown)
    metrics = Metrics()
    at = places(f"dns+http://engines:{a.port}")
    async with EnginePool(at, VllmClient, metrics, resolve=resolve, look_s=0.02) as pool:
        slow = asyncio.create_task(text(pool))
        await until(lambda: a.open)
        known[:] = ["127.0.0.2"]
        await until(lambda: b.name in shown(metrics, "pool_engine_up"))
        assert await text(pool) == "b"
        assert await slow == "slowly " * 5
        await until(lambda: shown(metrics, "pool_engine_up").keys() == {b.name})
        known[:] = []
        await asyncio.sleep(0.1)
        assert await text(pool) == "b"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "engine:8000",
        "ftp://a:1",
        "http://",
        "http://a:99999",
        "http://a:1,http://a:1",
        "dns+https://a:1",
        "dns+http://u:p@a",
    ],
)
def test_wrong_addresses(url):
    """An address that cannot be one is refused at start, and the message does not repeat it."""
    with pytest.raises(EngineError, match="SLUICEGATE_ENGINE_URL") as caught:
        places(url)
    assert "u:p" not in str(caught.value)


async def test_no_credentials_in_logs_and_labels():
    """A user and a password in an address are in no log line, no metric and no error."""
    with structlog.testing.capture_logs() as logged:
        metrics = Metrics()
        at = places("http://user:hunter2@127.0.0.1:9,http://user:hunter2@127.0.0.1:19")
        async with EnginePool(at, VllmClient, metrics, look_s=0.02) as pool:
            with pytest.raises(EngineUnavailable) as caught:
                await text(pool)
            await until(lambda: logged)
    assert "hunter2" not in repr(logged) + metrics.exposition().decode() + str(caught.value)
