"""Checks the arithmetic of docs/scale.md by simulation: the gateway's own choosing, over engines that batch.

    python -m bench.scale            # half a minute; writes bench/results/scale.json

An engine gives each of b streams min(alone, full / b) tokens a second: flat until it is full, shared after. Requests
come by chance (Poisson), the lengths of answers are exponential, conversations come back with what they began with.
Gateways know their own load only. Beside it the same traffic is dealt out by chance, as one Service does by connection.
"""

import argparse
import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.report import write
from service.engine.choosing import Seen, choose

ALONE, FULL = 80.0, 2400.0  # tokens a second: of one stream, of one engine
READ, WRITTEN = 500, 300  # tokens of a prompt and, on average, of an answer
CACHED: Final = 400  # conversations that an engine's cache holds
Choose = Callable[[random.Random, list[Seen], bytes, int], str]


@dataclass(slots=True)
class Engine:
    """Streams share its rate evenly, so each ends when every stream has been given as much as it still needed."""

    at_s: float = 0.0
    given: float = 0.0  # tokens to each stream that was there all the time
    ends: list[tuple[float, int]] = field(default_factory=list)  # heap: `given` at the end of a stream, its number
    cache: dict[bytes, None] = field(default_factory=dict)
    busy_tokens: float = 0.0

    def begin(self, number: int, tokens: int) -> None:
        heapq.heappush(self.ends, (self.given + tokens, number))

    def advance(self, to_s: float) -> list[tuple[float, int]]:
        """Streams that end until `to_s`, with the moment."""
        ended = []
        while self.ends:
            rate = min(ALONE, FULL / len(self.ends))
            step_s = min((self.ends[0][0] - self.given) / rate, to_s - self.at_s)
            self.given += step_s * rate
            self.busy_tokens += step_s * rate * len(self.ends)
            self.at_s += step_s
            if self.at_s >= to_s:
                break
            ended.append((self.at_s, heapq.heappop(self.ends)[1]))
        self.at_s = to_s
        return ended

    def hit(self, prefix: bytes) -> bool:
        found = self.cache.pop(prefix, 0) is None
        self.cache[prefix] = None
        if len(self.cache) > CACHED:
            del self.cache[next(iter(self.cache))]
        return found


@dataclass(frozen=True, slots=True)
class Traffic:
    engines: int
    gateways: int
    utilisation: float
    seconds: float = 120.0
    conversations_per_engine: int = 300

    @property
    def requests_a_second(self) -> float:
        return self.utilisation * self.engines * FULL / WRITTEN


def run(traffic: Traffic, choosing: Choose, seed: int) -> dict[str, float]:
    """Shares and seconds: how evenly engines were loaded, how long answers took over one alone, hits of the cache."""
    dice, names = random.Random(seed), [f"e{i}:8000" for i in range(traffic.engines)]
    engines = {name: Engine() for name in names}
    known = [Counter[str]() for _ in range(traffic.gateways)]
    asked: dict[int, tuple[float, int, int, str]] = {}  # started, tokens, gateway, engine
    stretch, hits, spread, number, at_s = list[float](), 0, list[float](), 0, 0.0
    warm_s = traffic.seconds / 4
    while at_s < traffic.seconds:
        at_s += dice.expovariate(traffic.requests_a_second)
        for name, engine in engines.items():
            for ended_s, stream in engine.advance(at_s):
                began_s, tokens, gateway, _ = asked.pop(stream)
                known[gateway][name] -= READ + WRITTEN
                if began_s > warm_s:
                    stretch.append((ended_s - began_s) * ALONE / tokens)
        gateway = dice.randrange(traffic.gateways)
        prefix = dice.randrange(traffic.conversations_per_engine * traffic.engines).to_bytes(4)
        seen = [Seen(name, known[gateway][name]) for name in names]
        name = choosing(dice, seen, prefix, READ + WRITTEN)
        tokens = max(1, round(dice.expovariate(1 / WRITTEN)))
        engines[name].begin(number, tokens)
        asked[number] = (at_s, tokens, gateway, name)
        known[gateway][name] += READ + WRITTEN
        number += 1
        if at_s > warm_s:
            hits += engines[name].hit(prefix)
            loads = [len(e.ends) for e in engines.values()]
            spread.append(max(loads) / max(sum(loads) / len(loads), 1))
        else:
            engines[name].hit(prefix)
    stretch.sort()
    return {
        "utilisation": sum(e.busy_tokens for e in engines.values()) / (at_s * FULL * traffic.engines),
        "stretch_p50": stretch[len(stretch) // 2],
        "stretch_p99": stretch[int(len(stretch) * 0.99)],
        "busiest_over_mean": sum(spread) / len(spread),
        "cache_hits": hits / len(spread),
    }


def ours(_: random.Random, seen: list[Seen], prefix: bytes, cost: int) -> str:
    name = choose(seen, prefix, cost)
    assert name
    return name


def by_connection(dice: random.Random, seen: list[Seen], _prefix: bytes, _cost: int) -> str:
    return dice.choice(seen).name


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="simulated; below 120 nothing is written")
    options = parser.parse_args(argv)
    figures: dict[str, object] = {}
    for engines, gateways in ((2, 2), (8, 3), (32, 8)):
        traffic = Traffic(engines, gateways, 0.75, options.seconds)
        rows = {"chosen": run(traffic, ours, 1), "by_connection": run(traffic, by_connection, 1)}
        figures[f"{engines}_engines"] = {
            "gateways": gateways,
            "asked_utilisation": traffic.utilisation,
            **{side: {name: round(value, 3) for name, value in row.items()} for side, row in rows.items()},
        }
        print(engines, figures[f"{engines}_engines"])
    if options.seconds >= 120:
        print(write("scale", "python -m bench.scale", figures))
    return figures


if __name__ == "__main__":
    main()
