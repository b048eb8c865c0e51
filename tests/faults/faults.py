"""The faults that are tried, and what clients may see of each. docs/faults.md has a line for every one."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.faults.cable import Cable
from tests.faults.memory import squeeze
from tests.faults.world import IDLE_S, PACE, World

DURING_S = 2.0 * PACE


@dataclass(frozen=True, slots=True)
class Fault:
    """`sees`: outcomes that clients may see beside answers and refusals; `lift` ends the fault, None: it lasts."""

    name: str
    strike: Callable[[World], None]
    lift: Callable[[World], None] | None
    sees: frozenset[str]
    during_s: float = DURING_S


def both_engines(state: str) -> Callable[[World], None]:
    return lambda w: [cable.set(state) for cable in w.to_engines]


def to_database(state: str) -> Callable[[World], None]:
    return lambda w: w.to_database.set(state)


def guard_says(what: str) -> Callable[[World], None]:
    return lambda w: setattr(w, "guard_says", what)


def start_gateway(w: World, number: int) -> None:
    w.gateways[number].start()
    w.await_gateway(number)


def move_clocks(seconds: int) -> Callable[[World], None]:
    return lambda w: [w.move_clock(number, seconds) for number in (0, 1)]


def lost(cables: Callable[[World], Sequence[Cable]], which: str) -> Callable[[World], None]:
    """`which`: lose or find packets between both gateways and the near ends of some cables."""
    return lambda w: [getattr(link, which)(cable.port) for link in w.links for cable in cables(w)]


def no_packets(name: str, cables: Callable[[World], Sequence[Cable]], sees: frozenset[str], during_s: float) -> "Fault":
    return Fault(f"no packets between gateways and {name}", lost(cables, "lose"), lost(cables, "find"), sees, during_s)


NOTHING, ENGINE, GUARD = frozenset(), frozenset({"engine_unavailable"}), frozenset({"guard_unavailable"})
FAULTS = [
    Fault("kill -9 of one engine of two", lambda w: w.engines[0].kill(), lambda w: w.engines[0].start(), ENGINE),
    Fault("a guard elsewhere fails", guard_says("fails"), guard_says("clean"), GUARD),
]
MORE = [
    Fault(
        "one engine of two hangs",
        lambda w: w.engines[0].signal(signal.SIGSTOP),
        lambda w: w.engines[0].signal(signal.SIGCONT),
        ENGINE,
        during_s=2 * IDLE_S + PACE,
    ),
    Fault("kill -9 of a gateway", lambda w: w.gateways[0].kill(), lambda w: start_gateway(w, 0), frozenset({"cut"})),
    Fault("kill -9 of PostgreSQL", lambda w: w.database.kill(), lambda w: w.database.start(), NOTHING),
    Fault("no database: connections torn", to_database("reset"), to_database("open"), NOTHING),
    Fault("no database: silence", to_database("silent"), to_database("open"), NOTHING, 4 * PACE),
    Fault("both engines torn off", both_engines("reset"), both_engines("open"), ENGINE),
    Fault("both engines silent", both_engines("silent"), both_engines("open"), ENGINE, during_s=2 * IDLE_S + PACE),
    Fault("a guard elsewhere is slow", guard_says("slow"), guard_says("clean"), GUARD),
    Fault("a guard elsewhere leaves scores out", guard_says("nonsense"), guard_says("clean"), GUARD),
    Fault("a guard elsewhere silent", lambda w: w.to_guard.set("silent"), lambda w: w.to_guard.set("open"), GUARD),
    Fault("a guard elsewhere torn off", lambda w: w.to_guard.set("reset"), lambda w: w.to_guard.set("open"), GUARD),
    Fault("clients torn off", lambda w: w.balancer.set("reset"), lambda w: w.balancer.set("open"), frozenset({"cut"})),
    Fault("the clock jumps a day ahead", move_clocks(86400), None, NOTHING),
    Fault("the clock jumps a day back", move_clocks(0), None, NOTHING),
]
SQUEEZED = Fault(
    "the memory limit ends a gateway", lambda w: squeeze(w, 0), lambda w: start_gateway(w, 0), frozenset({"cut"})
)
APART = [  # each gateway in a network namespace of its own
    no_packets("the database", lambda w: [w.to_database], NOTHING, 4 * PACE),
    no_packets("a guard elsewhere", lambda w: [w.to_guard], GUARD, DURING_S),
    no_packets("engines", lambda w: w.to_engines, ENGINE, 2 * IDLE_S + PACE),
]
