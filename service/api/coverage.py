"""GET /v1/coverage: what is judged, by which guards, under which policy, as the running process has it."""

from collections.abc import Sequence
from itertools import product
from typing import Final

from guards.guard import Guard
from guards.policy import Policy
from guards.verdict import Kind, Stage
from service.gate.exchange import Json

# endpoint -> (direction, channel, how a guard sees it)
CHANNELS: Final[dict[str, tuple[tuple[Stage, str, Kind], ...]]] = {
    "chat": (
        ("input", "system messages, tool definitions, response schemas", "system"),
        ("input", "user messages", "prompt"),
        ("input", "assistant messages, tool calls, tool results", "tool_result"),
        ("output", "content", "response"),
        ("output", "reasoning", "reasoning"),
        ("output", "tool_arguments", "tool_arguments"),
    ),
    "completions": (("input", "prompt", "prompt"), ("output", "content", "response")),
}
MODALITIES: Final = ("image", "audio", "video", "file")


def coverage(policy: Policy, guards: Sequence[Guard]) -> Json:
    """The matrix endpoint x direction x channel x modality for callers of `policy`."""
    used = [g for g in guards if g.name in policy.guards]
    cells = [_cell(policy, used, endpoint, *channel) for endpoint, channels in CHANNELS.items() for channel in channels]
    refused = [
        {"endpoint": endpoint, "direction": "input", "modality": modality, "uncovered": policy.uncovered.modality}
        for endpoint, modality in product(CHANNELS, MODALITIES)
    ]
    return {
        "policy": {"name": policy.name, "version": policy.version, "digest": policy.digest},
        "guards": [
            {"name": g.name, "version": g.version, "digest": g.digest, "categories": sorted(_categories(g))}
            for g in used
        ],
        "streaming": policy.streaming,
        "cells": cells + refused,
    }


def _cell(policy: Policy, guards: Sequence[Guard], endpoint: str, stage: Stage, channel: str, kind: Kind) -> Json:
    exempt = policy.exempt.get(kind, ())
    categories = {
        category: {
            "action": rule.action,
            "mode": rule.mode,
            "on_error": rule.on_error or policy.on_error,
            "guards": [g.name for g in guards if category in g.covers(stage)],
        }
        for category, rule in policy.rules(stage).items()
        if category not in exempt
    }
    return {
        "endpoint": endpoint,
        "direction": stage,
        "channel": channel,
        "modality": "text",
        "covered": any(c["guards"] for c in categories.values()),
        "categories": categories,
    }


def _categories(guard: Guard) -> frozenset[str]:
    return guard.covers("input") | guard.covers("output")
