"""Figures of a running gateway from its metrics: two readings make rates and quantiles of what happened between."""

import math
import time
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
SERVICE: Final = "sluicegate_"


@dataclass(frozen=True, slots=True)
class Reading:
    """Samples by name and labels, and when they were read (monotonic seconds)."""

    samples: Mapping[str, Mapping[Labels, float]]
    at: float = field(default_factory=time.monotonic)

    def total(self, name: str, **labels: str) -> float:
        """Sum of the samples that have these labels; 0 where there are none."""
        wanted = labels.items()
        return sum(value for has, value in self.samples.get(name, {}).items() if wanted <= dict(has).items())

    def by(self, name: str, label: str) -> dict[str, float]:
        """Sums by one label's value."""
        found: dict[str, float] = {}
        for has, value in self.samples.get(name, {}).items():
            key = dict(has).get(label, "")
            found[key] = found.get(key, 0.0) + value
        return found


def exposition(url: str, key: str) -> str:
    """What a gateway says at /metrics. `key`: of an operator.

    Raises:
        OSError: it cannot be reached, or it refuses (urllib.error.HTTPError).
        ValueError: that is no address.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError("say http://host:port")
    headers = {"Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{url.rstrip('/')}/metrics", headers=headers)  # noqa: S310  # http, as looked at
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310  # the same
        return str(answer.read().decode())


def read(text: str) -> Reading:
    """Raises ValueError: that is no Prometheus exposition."""
    samples: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith(SERVICE):
                samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    if not samples:
        raise ValueError("there are no metrics of a gateway")
    return Reading(samples)


def rates(then: Reading, now: Reading, name: str, label: str) -> dict[str, float]:
    """A counter's increase a second, by one label's value; a counter that began anew counts from 0."""
    before, passed_s = then.by(name, label), max(now.at - then.at, 1e-9)
    return {
        key: (value - before.get(key, 0.0) if value >= before.get(key, 0.0) else value) / passed_s
        for key, value in now.by(name, label).items()
    }


def quantile(then: Reading, now: Reading, histogram: str, q: float) -> float:
    """Of what was observed between two readings, interpolated within its bucket as Prometheus does; NaN: nothing was.

    Seconds, or whatever the histogram's unit is. Above the last finite bound: that bound.
    """
    before = then.by(f"{histogram}_bucket", "le")
    counts = [(float(le), count - before.get(le, 0.0)) for le, count in now.by(f"{histogram}_bucket", "le").items()]
    return _within(sorted(counts), q)


def _within(cumulative: Iterable[tuple[float, float]], q: float) -> float:
    bounds = list(cumulative)
    if not bounds or bounds[-1][1] <= 0:
        return math.nan
    rank, low, below = q * bounds[-1][1], 0.0, 0.0
    for bound, count in bounds:
        if count >= rank:
            if math.isinf(bound):
                return low
            return low + (bound - low) * ((rank - below) / (count - below) if count > below else 1.0)
        low, below = bound, count
    return low
