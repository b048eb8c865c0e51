"""The panels, as data: a title, PromQL by legend, a unit. Every query is narrowed to the namespaces chosen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

NS: Final = 'namespace=~"$namespace"'


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `queries`: legend -> PromQL; `kind`: timeseries, stat, heatmap or table; `width` of 24 columns."""

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    what: str = ""
    steps: tuple[tuple[str, float | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Dashboard:
    name: str
    title: str
    panels: tuple[Panel, ...]


def rate(metric: str, by: str = "", where: str = "") -> str:
    """Events a second of a counter, summed over replicas."""
    chosen = f"{NS}, {where}" if where else NS
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{chosen}}}[$__rate_interval]))"


def share(part: str, whole: str) -> str:
    """One rate as a share of another; 0 where there is no traffic."""
    return f"{part} / clamp_min({whole}, 1e-9)"


def gauge(metric: str, how: str = "sum", by: str = "", where: str = "") -> str:
    chosen = f"{NS}, {where}" if where else NS
    return f"{how}{f' by ({by})' if by else ''} ({metric}{{{chosen}}})"


def quantile(q: float, metric: str, by: str = "") -> str:
    """A quantile of a histogram."""
    return f"histogram_quantile({q:g}, {rate(f'{metric}_bucket', f'le, {by}' if by else 'le')})"


def quantiles(metric: str) -> Mapping[str, str]:
    return {f"p{q * 100:g}": quantile(q, metric) for q in (0.5, 0.95, 0.99)}


def blocked(outcome: str) -> str:
    return rate("sluicegate_guard_outcomes_total", where=f'outcome="{outcome}"')


EXCHANGES: Final = rate("sluicegate_exchanges_total")
BAD: Final = (("green", None), ("red", 1.0))
GOOD: Final = (("red", None), ("green", 1.0))

OVERVIEW: Final = Dashboard(
    "overview",
    "Sluicegate: overview",
    (
        Panel("Gateways", {"up": f'sum(up{{{NS}, job="sluicegate-gateway"}})'}, kind="stat", width=4, steps=GOOD),
        Panel("Engine", {"up": gauge("sluicegate_engine_up", "max")}, kind="stat", width=4, steps=GOOD),
        Panel("Database", {"up": gauge("sluicegate_database_up", "min")}, kind="stat", width=4, steps=GOOD),
        Panel(
            "Policies in force",
            {"digests": f"count(count by (digest) (sluicegate_policy_info{{{NS}}}))"},
            kind="stat",
            width=4,
            what="More than one: gateways do not have the same policy.",
            steps=(("green", None), ("red", 2.0)),
        ),
        Panel(
            "Fail-open, last hour",
            {"verdicts": f'sum(increase(sluicegate_guard_outcomes_total{{{NS}, outcome="fail_open"}}[1h]))'},
            kind="stat",
            width=4,
            steps=BAD,
        ),
        Panel("Overdue reviews", {"items": gauge("sluicegate_review_overdue", "max")}, kind="stat", width=4, steps=BAD),
        Panel(
            "Exchanges by outcome", {"{{outcome}}": rate("sluicegate_exchanges_total", "outcome")}, "reqps", width=12
        ),
        Panel(
            "Refused, as a share",
            {
                "by policy": share(blocked("policy_block"), EXCHANGES),
                "because a guard failed": share(blocked("guard_unavailable_block"), EXCHANGES),
            },
            "percentunit",
            width=12,
        ),
        Panel("Time to first text", quantiles("sluicegate_first_content_seconds"), "s"),
        Panel("Open exchanges", {"{{pod}}": gauge("sluicegate_in_flight", by="pod")}),
        Panel("HTTP by status", {"{{status}}": rate("sluicegate_http_requests_total", "status")}, "reqps"),
        Panel("Age of the spool", {"{{pod}}": gauge("sluicegate_spool_oldest_seconds", "max", "pod")}, "s"),
        Panel("Spool", {"{{pod}}": gauge("sluicegate_spool_bytes", by="pod")}, "bytes"),
        Panel(
            "Turned away",
            {
                "overload": rate("sluicegate_overloaded_total"),
                "rate limit": rate("sluicegate_rate_limited_total"),
                "wrong keys {{outcome}}": rate("sluicegate_wrong_keys_total", "outcome"),
            },
            "reqps",
        ),
    ),
)

GATE: Final = Dashboard(
    "gate",
    "Sluicegate: gate",
    (
        Panel("Time to first text", quantiles("sluicegate_first_content_seconds"), "s"),
        Panel(
            "What judging adds to a segment",
            quantiles("sluicegate_segment_hold_seconds"),
            "s",
            what="How long the judging held text that was ready.",
        ),
        Panel("Whole exchange", quantiles("sluicegate_exchange_seconds"), "s"),
        Panel("Held segments", {"": rate("sluicegate_segment_hold_seconds_bucket", "le")}, "s", "heatmap", 12),
        Panel(
            "Characters",
            {
                "released {{channel}}": rate("sluicegate_released_chars_total", "channel"),
                "withheld {{channel}}": rate("sluicegate_withheld_chars_total", "channel"),
            },
            "cps",
            width=12,
        ),
        Panel(
            "Withheld, as a share of what was generated",
            {
                "withheld": share(
                    rate("sluicegate_withheld_chars_total"),
                    f"({rate('sluicegate_withheld_chars_total')} + {rate('sluicegate_released_chars_total')})",
                )
            },
            "percentunit",
        ),
        Panel(
            "Refused by stage",
            {"{{outcome}}": rate("sluicegate_exchanges_total", "outcome", 'outcome=~"refused_.*"')},
            "reqps",
        ),
        Panel(
            "Exchanges by endpoint",
            {"{{endpoint}} stream={{stream}}": rate("sluicegate_exchanges_total", "endpoint, stream")},
            "reqps",
        ),
        Panel(
            "Requests, p95 by route",
            {"{{route}}": quantile(0.95, "sluicegate_http_request_seconds", "route")},
            "s",
            width=12,
        ),
        Panel(
            "Ledger writes that failed",
            {"{{operation}}": rate("sluicegate_ledger_errors_total", "operation")},
            "ops",
            width=12,
        ),
        Panel("Room of the spool", {"{{pod}}": gauge("sluicegate_spool_room_bytes", by="pod")}, "bytes", width=8),
        Panel("Only the reserve is left", {"{{pod}}": gauge("sluicegate_spool_short", "max", "pod")}, width=8),
        Panel("Samples given up for lack of room", {"{{pod}}": gauge("sluicegate_spool_shed", by="pod")}, width=8),
        Panel("Spool backlog", {"{{pod}}": gauge("sluicegate_spool_backlog", by="pod")}, width=8),
        Panel("Put aside by the database", {"{{pod}}": gauge("sluicegate_spool_refused", by="pod")}, width=8),
        Panel(
            "Damaged bytes of the spool",
            {"{{pod}}": gauge("sluicegate_spool_damaged_bytes", by="pod")},
            "bytes",
            width=8,
        ),
    ),
)

GUARDS: Final = Dashboard(
    "guards",
    "Sluicegate: guards",
    (
        Panel(
            "Verdicts on input by category",
            {
                "{{category}} {{action}}": rate(
                    "sluicegate_verdicts_total", "category, action", 'stage="input", mode="enforce"'
                )
            },
            "ops",
            width=12,
        ),
        Panel(
            "Verdicts on output by category",
            {
                "{{category}} {{action}}": rate(
                    "sluicegate_verdicts_total", "category, action", 'stage="output", mode="enforce"'
                )
            },
            "ops",
            width=12,
        ),
        Panel(
            "Shadow: what would have happened",
            {
                "{{stage}} {{category}} {{action}}": rate(
                    "sluicegate_verdicts_total", "stage, category, action", 'mode="shadow"'
                )
            },
            "ops",
        ),
        Panel("Outcomes", {"{{outcome}}": rate("sluicegate_guard_outcomes_total", "outcome")}, "ops"),
        Panel("Errors", {"{{guard}} {{kind}}": rate("sluicegate_guard_errors_total", "guard, kind")}, "ops"),
        Panel(
            "A batch, p95", {"{{guard}} {{version}}": quantile(0.95, "sluicegate_guard_seconds", "guard, version")}, "s"
        ),
        Panel("Passages that wait", {"{{guard}} {{pod}}": gauge("sluicegate_guard_queue_depth", by="guard, pod")}),
        Panel(
            "Passages in a batch, mean",
            {
                "{{guard}}": share(
                    rate("sluicegate_guard_batch_passages_sum", "guard"),
                    rate("sluicegate_guard_batch_passages_count", "guard"),
                )
            },
        ),
        Panel("Judged before", {"{{guard}}": rate("sluicegate_guard_reused_total", "guard")}, "ops"),
        Panel(
            "Escalated by cascades",
            {"{{guard}} {{why}}": rate("sluicegate_guard_escalated_total", "guard, why")},
            "ops",
        ),
        Panel(
            "Policy reloads, last hour",
            {"{{outcome}}": f"sum by (outcome) (increase(sluicegate_policy_reloads_total{{{NS}}}[1h]))"},
        ),
        Panel(
            "Guards in force",
            {"": gauge("sluicegate_guard_info", "count", "guard, version, digest")},
            kind="table",
            width=12,
        ),
        Panel(
            "Policies in force",
            {"": gauge("sluicegate_policy_info", "count", "policy, version, digest")},
            kind="table",
            width=12,
        ),
    ),
)

REVIEW: Final = Dashboard(
    "review",
    "Sluicegate: review",
    (
        Panel("Open items", {"items": gauge("sluicegate_review_open", "max")}, kind="stat"),
        Panel("Overdue", {"{{queue}}": gauge("sluicegate_review_overdue", "max", "queue")}, kind="stat", steps=BAD),
        Panel("Oldest item", {"{{queue}}": gauge("sluicegate_review_oldest_seconds", "max", "queue")}, "s", "stat"),
        Panel("Past the target", {"{{queue}}": gauge("sluicegate_review_late_seconds", "max", "queue")}, "s", width=12),
        Panel("Breaks of the audit log", {"places": gauge("sluicegate_audit_faults", "max")}, steps=BAD, width=12),
        Panel("Open items over time", {"items": gauge("sluicegate_review_open", "max")}, width=12),
        Panel(
            "Age of what is due first",
            {"{{queue}}": gauge("sluicegate_review_oldest_seconds", "max", "queue")},
            "s",
            width=12,
        ),
        Panel(
            "Overturned",
            {"{{guard}} {{category}}": gauge("sluicegate_overturn_rate", "max", "guard, category")},
            "percentunit",
            what="Share of what was held back that reviewers call wrong.",
        ),
        Panel("Agreement (alpha)", {"{{queue}} {{question}}": gauge("sluicegate_agreement", "max", "queue, question")}),
        Panel(
            "Missed harm among allowed exchanges",
            {"{{bound}}": gauge("sluicegate_missed_rate", "max", "bound")},
            "percentunit",
            what="An estimate from the sample, with its bounds.",
        ),
        Panel("Feedback", {"{{kind}}": rate("sluicegate_feedback_total", "kind")}, "ops", width=12),
        Panel("Appeals", {"appeals": rate("sluicegate_appeals_total")}, "ops", width=12),
    ),
)

ENGINE: Final = Dashboard(
    "engine",
    "Sluicegate: engine",
    (
        Panel("Reached by gateways", {"{{pod}}": gauge("sluicegate_engine_up", "max", "pod")}, kind="stat", steps=GOOD),
        Panel("Asked by gateways", {"{{engine}}": gauge("sluicegate_pool_engine_up", "min", "engine")}, kind="stat"),
        Panel("Tokens awaited, by engine", {"{{engine}}": gauge("sluicegate_pool_engine_tokens", by="engine")}),
        Panel("Asked again elsewhere", {"retries": rate("sluicegate_pool_retries_total")}, "reqps"),
        Panel("Running", {"{{pod}}": gauge("vllm:num_requests_running", by="pod")}),
        Panel("Waiting", {"{{pod}}": gauge("vllm:num_requests_waiting", by="pod")}),
        Panel("KV cache in use", {"{{pod}}": gauge("vllm:kv_cache_usage_perc", "max", "pod")}, "percentunit"),
        Panel("Tokens in", {"prompt": rate("vllm:prompt_tokens_total")}, "short"),
        Panel("Tokens out", {"generated": rate("vllm:generation_tokens_total")}, "short"),
        Panel("Time to first token", quantiles("vllm:time_to_first_token_seconds"), "s"),
        Panel("Between tokens", quantiles("vllm:inter_token_latency_seconds"), "s"),
        Panel("In vLLM's queue", quantiles("vllm:request_queue_time_seconds"), "s"),
        Panel("Ended", {"{{finished_reason}}": rate("vllm:request_success_total", "finished_reason")}, "reqps"),
        Panel("Preempted", {"{{pod}}": rate("vllm:num_preemptions_total", "pod")}, "ops"),
        Panel(
            "Prefix cache hits",
            {"hits": share(rate("vllm:prefix_cache_hits_total"), rate("vllm:prefix_cache_queries_total"))},
            "percentunit",
        ),
    ),
)

LEARNING: Final = Dashboard(
    "learning",
    "Sluicegate: learning",
    (
        Panel("Registry", {"read": gauge("sluicegate_registry_up", "min")}, kind="stat", width=4, steps=GOOD),
        Panel(
            "Where versions stand",
            {"": gauge("sluicegate_guard_stage", "max", "guard, version, digest, stage")},
            kind="table",
            width=20,
            what="configured: what a gateway was started with; enforced, canary, shadow: by the registry",
        ),
        Panel("Swaps", {"{{guard}} {{outcome}}": rate("sluicegate_guard_swaps_total", "guard, outcome")}, "ops"),
        Panel(
            "Judged in shadow",
            {"{{version}} {{outcome}}": rate("sluicegate_guard_beside_total", "version, outcome")},
            "ops",
            what="dropped: the shadow was busy, and nobody waits for it",
        ),
        Panel("Drift", {"{{series}}": gauge("sluicegate_drift_psi", "max", "series")}, what="population stability"),
        Panel("Drift alarms", {"alarms": gauge("sluicegate_drift_alarms", "max")}, kind="stat", steps=BAD),
        Panel("Overturned", {"{{category}}": gauge("sluicegate_overturn_rate", "max", "category")}, "percentunit"),
        Panel("Let pass and harmful", {"{{bound}}": gauge("sluicegate_missed_rate", "max", "bound")}, "percentunit"),
    ),
)

DASHBOARDS: Final = (OVERVIEW, GATE, GUARDS, REVIEW, ENGINE, LEARNING)
