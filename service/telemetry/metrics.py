"""Every Prometheus metric of the service. Labels are names from configuration, never a user, a text or an id."""

import time
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from guards.policy import Policy
from guards.verdict import Verdict

JUDGING_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
WAITING_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
BLOCKS: Mapping[str, str] = {
    "refused_input": "policy_block",
    "refused_output": "policy_block",
    "guard_unavailable": "guard_unavailable_block",
}
ERROR_KINDS = frozenset({"deadline", "stopped", "timeout", "unparsable"})
ENDPOINTS = ("chat", "completions", "responses", "embeddings")
OUTCOMES = (
    *("completed", "refused_input", "refused_output", "rejected", "client_left", "failed"),
    *("guard_unavailable", "engine_unavailable", "ledger_unavailable"),
)


class _Asked(Protocol):
    @property
    def endpoint(self) -> str: ...
    @property
    def stream(self) -> bool: ...


class _Exchange(Protocol):
    @property
    def asked(self) -> _Asked: ...
    @property
    def outcome(self) -> str: ...
    @property
    def started_at(self) -> float: ...


class _Hold(Protocol):
    @property
    def text(self) -> str: ...
    @property
    def released(self) -> int: ...


class _Channelled(Protocol):
    @property
    def channel(self) -> str: ...
    @property
    def hold(self) -> _Hold: ...


class _Choice(Protocol):
    @property
    def holds(self) -> Mapping[Any, _Channelled]: ...


class Metrics:
    """One registry a process (a test makes its own). Methods for what is counted in several places at once.

    What is countable is there as 0 from the start: Prometheus' `increase` does not see the first of a series.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._exchanges()
        self._guards()
        self._ledger()
        self._http()

    def _counter(self, name: str, help_text: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(f"sluicegate_{name}", help_text, tuple(labels), registry=self.registry)

    def _gauge(self, name: str, help_text: str, labels: Iterable[str] = ()) -> Gauge:
        return Gauge(f"sluicegate_{name}", help_text, tuple(labels), registry=self.registry)

    def _histogram(
        self, name: str, help_text: str, labels: Iterable[str] = (), buckets: tuple[float, ...] = WAITING_S
    ) -> Histogram:
        return Histogram(f"sluicegate_{name}", help_text, tuple(labels), registry=self.registry, buckets=buckets)

    def _exchanges(self) -> None:
        self.exchanges = self._counter("exchanges", "Exchanges that ended.", ("endpoint", "stream", "outcome"))
        for endpoint, stream, outcome in product(ENDPOINTS, ("true", "false"), OUTCOMES):
            self.exchanges.labels(endpoint, stream, outcome)
        self.exchange_seconds = self._histogram("exchange_seconds", "Asked to closed.", ("endpoint", "stream"))
        self.in_flight = self._gauge("in_flight", "Exchanges open now.")
        self.released_chars = self._counter("released_chars", "Generated characters that left.", ("channel",))
        self.withheld_chars = self._counter("withheld_chars", "Generated characters that never left.", ("channel",))
        for channel in ("content", "reasoning", "tool_arguments"):
            self.released_chars.labels(channel)
            self.withheld_chars.labels(channel)
        self.first_content_seconds = self._histogram("first_content_seconds", "Asked to the first released text.")
        self.segment_hold_seconds = self._histogram(
            "segment_hold_seconds", "How long the judging held a ready segment.", buckets=JUDGING_S
        )
        self.overloads = self._counter("overloaded", "Requests turned away because too many were in progress.")

    def _guards(self) -> None:
        self.verdicts = self._counter(
            "verdicts",
            "Verdicts other than a clean pass.",
            ("guard", "version", "stage", "category", "action", "mode"),
        )
        self.guard_seconds = self._histogram(
            "guard_seconds", "One batch of one guard.", ("guard", "version"), buckets=JUDGING_S
        )
        self.guard_batch_passages = self._histogram(
            "guard_batch_passages", "Passages in one batch.", ("guard",), buckets=(1, 2, 4, 8, 16, 32, 64)
        )
        self.guard_reused = self._counter(
            "guard_reused", "Passages whose scores were known from an earlier request.", ("guard",)
        )
        self.guard_escalated = self._counter(
            "guard_escalated", "Passages that a cascade's second guard was asked about.", ("guard", "why")
        )
        self.guard_errors = self._counter(
            "guard_errors", "Passages that a guard failed to judge.", ("guard", "version", "kind")
        )
        self.guard_outcomes = self._counter(
            "guard_outcomes", "policy_block, guard_unavailable_block or fail_open.", ("outcome",)
        )
        for outcome in ("policy_block", "guard_unavailable_block", "fail_open"):
            self.guard_outcomes.labels(outcome)
        self.guard_queue_depth = self._gauge("guard_queue_depth", "Passages that wait for a guard.", ("guard",))
        self.guard_stage = self._gauge(
            "guard_stage", "Guards by where they stand.", ("guard", "version", "digest", "stage")
        )
        self.guard_swaps = self._counter("guard_swaps", "Versions taken from the registry.", ("guard", "outcome"))
        self.guard_beside = self._counter(
            "guard_beside", "Exchanges for a guard in shadow.", ("guard", "version", "outcome")
        )
        self.registry_up = self._gauge("registry_up", "1 while it can be read which versions are in force.")
        self.guard_info = self._gauge("guard_info", "Guards in force.", ("guard", "version", "digest"))
        self.policy_info = self._gauge("policy_info", "The policy file in force.", ("policy", "version", "digest"))
        self.policy_reloads = self._counter("policy_reloads", "Changes of the policy file.", ("outcome",))
        for outcome in ("loaded", "rejected"):
            self.policy_reloads.labels(outcome)

    def _ledger(self) -> None:
        self.engine_up = self._gauge("engine_up", "1 while an engine answers.")
        self.pool_engine_up = self._gauge("pool_engine_up", "1 while this engine of several is asked.", ("engine",))
        self.pool_engine_tokens = self._gauge("pool_engine_tokens", "Tokens asked and not answered yet.", ("engine",))
        self.pool_retries = self._counter("pool_retries", "Requests asked again of another engine.")
        self.spool_backlog = self._gauge("spool_backlog", "Events in the spool that are not in the database yet.")
        self.spool_bytes = self._gauge("spool_bytes", "Size of the spool.")
        self.spool_oldest_seconds = self._gauge("spool_oldest_seconds", "Age of the oldest event in the spool.")
        self.spool_damaged_bytes = self._gauge("spool_damaged_bytes", "Bytes of the spool that could not be read.")
        self.spool_refused = self._gauge("spool_refused", "Exchanges put aside because the database refused them.")
        self.spool_room_bytes = self._gauge("spool_room_bytes", "What the spool can still take.")
        self.spool_short = self._gauge("spool_short", "1 while only the reserve is left, for what is flagged.")
        self.spool_shed = self._gauge("spool_shed", "Clean samples given up since the start for lack of room.")
        self.database_up = self._gauge("database_up", "1 while the database takes what the spool has.")
        self.ledger_errors = self._counter("ledger_errors", "Writes refused.", ("operation",))
        for operation in ("begin", "commit", "append"):
            self.ledger_errors.labels(operation)
        self.audit_faults = self._gauge("audit_faults", "Places where the audit log's chain is broken.")
        self.review_open = self._gauge("review_open", "Items that wait for a reviewer or an adjudicator.")

        self.feedback = self._counter("feedback", "Feedback of clients.", ("kind",))
        for kind in ("thumbs_up", "thumbs_down", "rating", "report"):
            self.feedback.labels(kind)
        self.appeals = self._counter("appeals", "Appeals of clients, repeated ones too.")
        self.review_oldest_seconds = self._gauge("review_oldest_seconds", "Age of what is due first.", ("queue",))
        self.review_overdue = self._gauge("review_overdue", "Items past their queue's target.", ("queue",))
        self.review_late_seconds = self._gauge("review_late_seconds", "How far past its target.", ("queue",))
        self.overturn_rate = self._gauge(
            "overturn_rate", "Share of what was held back that reviewers call wrong.", ("guard", "category")
        )
        self.agreement = self._gauge("agreement", "Krippendorff's alpha of reviewers.", ("queue", "question"))
        self.missed_rate = self._gauge("missed_rate", "Estimated share of harm among allowed exchanges.", ("bound",))

    def _http(self) -> None:
        self.requests = self._counter("http_requests", "HTTP requests.", ("method", "route", "status"))
        self.request_seconds = self._histogram("http_request_seconds", "HTTP requests, whole.", ("method", "route"))
        self.rate_limited = self._counter("rate_limited", "Requests over the rate limit of their key.")
        self.wrong_keys = self._counter("wrong_keys", "Requests with a key that nobody has.", ("outcome",))
        for outcome in ("denied", "limited"):
            self.wrong_keys.labels(outcome)

    def verdict(self, verdict: Verdict) -> None:
        v = verdict
        self.verdicts.labels(v.guard, v.version, v.stage, v.category, v.action, v.mode).inc()
        if v.error is not None and v.mode == "enforce" and v.action in ("allow", "flag"):
            self.guard_outcomes.labels("fail_open").inc()

    def guard_batch(self, guard: str, version: str, passages: int, elapsed_s: float) -> None:
        self.guard_seconds.labels(guard, version).observe(elapsed_s)
        self.guard_batch_passages.labels(guard).observe(passages)

    def guard_error(self, guard: str, version: str, error: str) -> None:
        """Counts by kind, the word before a colon where it is a known one: the rest may be long, or quote a text."""
        kind = error.partition(":")[0]
        self.guard_errors.labels(guard, version, kind if kind in ERROR_KINDS else "failed").inc()

    def guard_queue(self, guard: str, passages: int) -> None:
        self.guard_queue_depth.labels(guard).set(passages)

    def held(self, elapsed_s: float) -> None:
        self.segment_hold_seconds.observe(elapsed_s)

    def first_content(self, elapsed_s: float) -> None:
        self.first_content_seconds.observe(elapsed_s)

    def overloaded(self) -> None:
        self.overloads.inc()

    def closed(self, exchange: _Exchange, choices: Iterable[_Choice]) -> None:
        """An exchange ended: its outcome, its duration, and what became of the generated text."""
        endpoint, stream = exchange.asked.endpoint, str(exchange.asked.stream).lower()
        self.exchanges.labels(endpoint, stream, exchange.outcome).inc()
        self.exchange_seconds.labels(endpoint, stream).observe(max(time.time() - exchange.started_at, 0))
        if block := BLOCKS.get(exchange.outcome):
            self.guard_outcomes.labels(block).inc()
        for held in (held for choice in choices for held in choice.holds.values()):
            self.released_chars.labels(held.channel).inc(held.hold.released)
            self.withheld_chars.labels(held.channel).inc(len(held.hold.text) - held.hold.released)

    def in_force(self, policies: Iterable[Policy], guards: Iterable[tuple[str, str, str]]) -> None:
        """Says which policies and guards (name, version, digest) this process really uses, and forgets earlier ones."""
        self.policy_info.clear()
        self.guard_info.clear()
        for policy in policies:
            self.policy_info.labels(policy.name, str(policy.version), policy.digest).set(1)
        for name, version, digest in guards:
            self.guard_info.labels(name, version, digest).set(1)
            for kind in (*ERROR_KINDS, "failed"):
                self.guard_errors.labels(name, version, kind)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
