"""What docs/scale.md claims: tiny versions by default, full ones with SLUICEGATE_PROVE=1, which write the results."""

import asyncio
import os

import pytest

from bench import replicas, scale, soak
from bench.postgres import NoPostgres, Server
from bench.report import write

PROVE = bool(os.environ.get("SLUICEGATE_PROVE"))


def test_the_arithmetic_holds_in_simulation():
    """Engines are as busy as asked, none much busier than the mean, and conversations find their cache."""
    if PROVE:
        scale.main([])
    traffic = scale.Traffic(engines=8, gateways=3, utilisation=0.75, seconds=60)
    chosen, dealt = (scale.run(traffic, choosing, seed=2) for choosing in (scale.ours, scale.by_connection))
    assert chosen["utilisation"] == pytest.approx(0.75, abs=0.1)
    assert chosen["busiest_over_mean"] < 1.25
    assert chosen["busiest_over_mean"] < dealt["busiest_over_mean"]
    assert chosen["cache_hits"] > 1.5 * dealt["cache_hits"]


def test_a_replica_carries_what_it_carries_alone():
    """Each of two gateways over two engines, with one database, serves what one alone serves."""
    pytest.importorskip("asyncpg", reason="PostgreSQL's driver is not installed (extra: postgres)")
    size = replicas.Size() if PROVE else replicas.Size(2, 4, 30, 40.0, 1)
    try:
        server = Server("fsync=off")
    except NoPostgres as error:
        pytest.skip(str(error))
    with server:
        figures = asyncio.run(replicas.measure(size, replicas.migrated(server.url)))
    if PROVE:
        write("replicas", "make prove (tests/bench/test_scale.py)", figures)
    assert figures["per_replica_over_alone"]["value"] >= (0.95 if PROVE else 0.5)


def test_soak():
    """At 80 % of saturation every answer comes whole, at the pace that is asked, and memory is told of."""
    figures = soak.main(["--minutes", "60" if PROVE else "0.08"])
    assert figures["errors"] == 0
    assert figures["answers"] >= soak.STREAMS
    assert figures["got_tokens_a_second"] > (0.9 if PROVE else 0.3) * figures["wanted_tokens_a_second"]
    if PROVE:
        assert figures["memory_slope_mib_an_hour"]["value"] < 20
