"""GET /v1/coverage: what is judged, by which guards, under which policy, as the running process has it."""

from collections.abc import Sequence
from itertools import product
from typing import Final

from guards.guard import Guard
from guards.language import HOME, languages_of
from guards.policy import Policy
from guards.verdict import Kind, Stage
from service.gate.exchange import Json
from service.gate.languages import reads

# endpoint -> (direction, channel, how a guard sees it)
_CONVERSATION: Final[tuple[tuple[Stage, str, Kind], ...]] = (
    ("input", "system messages, tool definitions, response schemas", "system"),
    ("input", "user messages", "prompt"),
    ("input", "assistant messages, tool calls, tool results", "tool_result"),
    ("output", "content", "response"),
    ("output", "reasoning", "reasoning"),
    ("output", "tool_arguments", "tool_arguments"),
)
CHANNELS: Final[dict[str, tuple[tuple[Stage, str, Kind], ...]]] = {
    "chat": _CONVERSATION,
    "completions": (("input", "prompt", "prompt"), ("output", "content", "response")),
    "responses": _CONVERSATION,
    "embeddings": (("input", "input", "prompt"),),
}
NUMBERS: Final = {  # no guard reads vectors, and they are no text that anybody could read
    "endpoint": "embeddings",
    "direction": "output",
    "channel": "vectors",
    "modality": "numbers",
    "uncovered": "allow",
}
STAGES: Final[tuple[Stage, ...]] = ("input", "output")
MODALITIES: Final = ("image", "audio", "video", "file")


def coverage(policy: Policy, guards: Sequence[Guard], told: Json | None = None, learned: Sequence[Json] = ()) -> Json:
    """The matrix endpoint x direction x channel x modality for callers of `policy`; `told` is where that comes from.

    `learned`: versions of the registry, by where they stand; a guard that is none is as the gateway was started with.
    """
    enforced = {one["digest"] for one in learned if one["stage"] == "enforced"}
    used = [g for g in guards if g.name in policy.guards]
    cells = [_cell(policy, used, endpoint, *channel) for endpoint, channels in CHANNELS.items() for channel in channels]
    refused = [
        {"endpoint": endpoint, "direction": "input", "modality": modality, "uncovered": policy.uncovered.modality}
        for endpoint, modality in product(CHANNELS, MODALITIES)
    ]
    return {
        "policy": {"name": policy.name, "version": policy.version, "digest": policy.digest} | (told or {}),
        "guards": [
            {
                "name": g.name,
                "version": g.version,
                "digest": g.digest,
                "stage": "enforced" if g.digest in enforced else "configured",
                "categories": sorted(_categories(g)),
                "languages": languages_of(g),
            }
            for g in used
        ],
        "beside": [one for one in learned if one["stage"] != "enforced"],
        "languages": _languages(policy, used),
        "streaming": policy.streaming,
        "cells": [*cells, *refused, NUMBERS],
    }


def _languages(policy: Policy, guards: Sequence[Guard]) -> Json:
    """What is done with a language that is not covered, and which ones are: in all that has a rule, by some guard."""
    uncovered = policy.uncovered
    known = [
        (category, [languages_of(g) for g in guards if category in g.covers(stage)])
        for stage in STAGES
        for category, rule in policy.rules(stage).items()
        if rule.action != "allow"
    ]
    named = {HOME, *uncovered.accepted_languages, *(code for g in guards for code in languages_of(g) or ())}
    return {
        "covered": sorted(code for code in named if all(reads(code, c, languages, policy) for c, languages in known)),
        "uncovered": uncovered.language,
        "escalate": policy.escalate,
        "least_recall": uncovered.language_recall,
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
