"""Each part is killed, stopped, slowed or cut off under load: what clients saw, what was kept, how long until normal.

The engines are paced stand-ins; gateways, PostgreSQL, the wire and the processes are real. Few faults are tried by
default, all of them with SLUICEGATE_PROVE=1, which writes bench/results/faults.json.
"""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest

from tests.faults.faults import APART, FAULTS, MORE, SQUEEZED, Fault, start_gateway
from tests.faults.load import Seen, asking
from tests.faults.memory import room
from tests.faults.world import DEADLINE_S, IDLE_S, PACE, World

PROVE = bool(os.environ.get("SLUICEGATE_PROVE"))
SLOW = pytest.mark.skipif(not PROVE, reason="full counts: SLUICEGATE_PROVE=1")
MOST_SETTLING_S = 40.0 * PACE
CLIENTS = 2000 if PROVE else 512


async def settled(seen: Seen, at_s: float) -> float:
    """Waits until twelve requests in a row went well; how long after `at_s` the last one failed."""
    deadline = time.monotonic() + MOST_SETTLING_S  # not from `at_s`: what ends a fault may take its time
    while time.monotonic() < deadline:
        if len(last := seen.since(at_s)[-12:]) == 12 and not any(a.failed for a in last):
            return seen.normal_s(at_s)
        await asyncio.sleep(0.05)
    raise AssertionError(f"not normal after {MOST_SETTLING_S} s: {seen.told(at_s)}")


def once(work: Callable[[World], None], world: World) -> asyncio.Future:
    return asyncio.get_running_loop().run_in_executor(None, work, world)


async def tried(world: World, fault: Fault) -> dict:
    """The fault under load, and its line of the table."""
    async with asking(world.url) as seen:
        began = time.monotonic()
        await settled(seen, began)
        at_s = time.monotonic()
        await once(fault.strike, world)
        await asyncio.sleep(fault.during_s)
        if fault.lift:
            during, lifted_s = seen.told(at_s), time.monotonic()
            await once(fault.lift, world)
            normal_s = await settled(seen, lifted_s)
        else:
            normal_s, during = await settled(seen, at_s), seen.told(at_s)
    assert not any(a.failed for a in seen.asked if a.ended_s < at_s)
    found = await world.kept(seen.flagged)
    return {
        "client_saw": dict(sorted(during.items())),
        "after": dict(sorted((seen.told(lifted_s) if fault.lift else during).items())),
        "longest_request_s": round(seen.longest_s(at_s), 2),
        "normal_after_s": round(normal_s, 2),
        "flagged_seen": len(seen.flagged),
        "flagged_kept": found,
        "leaked": seen.leaked,
        "machine_slower": round(PACE, 1),
    }


@pytest.mark.parametrize("fault", [*FAULTS, *(pytest.param(f, marks=SLOW) for f in MORE)], ids=lambda f: f.name)
async def test_fault(world, told, fault):
    """Clients see a clear error or none, nothing hangs, nothing flagged is lost, nothing withheld is shown."""
    told[fault.name] = held_to(fault, await tried(world, fault))


@SLOW
@pytest.mark.parametrize("fault", APART, ids=lambda f: f.name)
async def test_lost_packets(apart, told, fault):
    """The same where packets between two parts vanish: new connections are never answered, old ones say nothing."""
    told[fault.name] = held_to(fault, await tried(apart, fault))


@SLOW
async def test_memory_limit(world, told):
    """The same where a gateway is ended by the kernel, for it was asked more than its memory holds."""
    if room() is None:
        pytest.skip("no control group with a limit of memory can be made here; it needs root")
    told[SQUEEZED.name] = held_to(SQUEEZED, await tried(world, SQUEEZED))


def held_to(fault: Fault, line: dict) -> dict:
    """The line, which is as it has to be whatever the fault."""
    print(fault.name, line)
    saw = set(line["client_saw"]) | set(line["after"])
    assert saw - {"answered", "refused"} <= fault.sees
    assert line["longest_request_s"] < 2 * IDLE_S + 2 * DEADLINE_S + 10 * PACE
    assert line["flagged_kept"] == line["flagged_seen"] > 0
    assert line["leaked"] == 0
    return line


async def test_rolling_restart(world, told):
    """Both gateways are restarted in turn under load, each forgotten by the balancer first, and no request fails."""

    def restart(w: World) -> None:
        for number, process in enumerate(w.gateways):
            w.balancer.targets = [port for port in w.gateway_ports if port != w.gateway_ports[number]]
            time.sleep(0.5 * PACE)  # the chart's preStopS: connections on their way arrive before we stop to listen
            process.signal(signal.SIGTERM)
            assert process.child.wait(60 * PACE) == 0
            start_gateway(w, number)
            w.balancer.targets = w.gateway_ports

    async with asking(world.url) as seen:
        began = time.monotonic()
        await once(restart, world)
        took_s = time.monotonic() - began
        await settled(seen, time.monotonic())
    line = {
        "client_saw": dict(sorted(seen.told(began).items())),
        "longest_request_s": round(seen.longest_s(began), 2),
        "took_s": round(took_s, 1),
        "flagged_seen": len(seen.flagged),
        "flagged_kept": await world.kept(seen.flagged),
        "leaked": seen.leaked,
    }
    print(line, seen.cuts)
    told["rolling restart of both gateways"] = line
    assert set(line["client_saw"]) <= {"answered", "refused"}
    assert line["flagged_kept"] == line["flagged_seen"] > 0


async def test_slow_clients(world, told):
    """Clients that send their requests a byte at a time keep nobody else waiting."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: "
    with ExitStack() as stack:
        async with asking(world.url) as seen:
            began = time.monotonic()
            await settled(seen, began)
            alone_s = seen.longest_s(began)
            sockets = []
            for number in range(CLIENTS):
                one = stack.enter_context(socket.create_connection(("127.0.0.1", world.gateway_ports[number % 2]), 30))
                one.sendall(head)
                sockets.append(one)
            at_s = time.monotonic()
            for _ in range(3):
                for one in sockets:
                    with suppress(OSError):  # it may have had enough of us
                        one.send(b"x")
                await asyncio.sleep(0.5)
            await settled(seen, at_s)
    line = {
        "clients": CLIENTS,
        "client_saw": dict(sorted(seen.told(at_s).items())),
        "longest_request_s": round(seen.longest_s(at_s), 2),
        "longest_before_s": round(alone_s, 2),
        "leaked": seen.leaked,
    }
    print(line)
    told[f"{CLIENTS} slow clients"] = line
    assert set(line["client_saw"]) <= {"answered", "refused"}
    assert seen.leaked == 0
