"""What to do with which score: one YAML file, checked whole before any of it is in force. Pure but for `load`."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, model_validator

from guards.document import DocumentError, Strict, validated
from guards.taxonomy import CATEGORIES
from guards.trigger import TRIGGERS
from guards.verdict import Kind, Stage

Action = Literal["allow", "flag", "redact", "replace", "refuse"]
Mode = Literal["enforce", "shadow"]
OnError = Literal["refuse", "flag", "allow"]
Store = Literal["none", "metadata", "flagged", "sampled"]
Coverage = Mapping[str, Mapping[Stage, frozenset[str]]]  # guard name -> stage -> categories it judges

SEVERITY: Final[Mapping[str, int]] = {"allow": 0, "flag": 1, "redact": 2, "replace": 3, "refuse": 4}
DEFAULT_POLICY: Final = Path(__file__).with_name("policies") / "default.yaml"


class PolicyError(ValueError):
    """The policy cannot be used. The message lists every fault with its place in the file."""


class Rule(Strict):
    """One category at one stage. A score at or above `threshold` triggers `action`."""

    threshold: float = Field(0.5, gt=0, le=1, description="probability of the category from which on the rule applies")
    action: Action = Field("refuse", description="what happens to the text then")
    mode: Mode = Field("enforce", description="`shadow` records what `enforce` would have done, and does nothing")
    on_error: OnError | None = Field(None, description="when the guard fails; the policy's `on_error` if not given")


class Uncovered(Strict):
    """What happens to what no guard can judge."""

    modality: Literal["refuse"] = Field("refuse", description="images, audio, files")


class Policy(Strict):
    """Thresholds, actions and release settings in force for a caller. Same content, same `digest`."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="what verdicts and refusals call this policy")
    version: int = Field(ge=1, description="raised with every change, so that verdicts can be told apart")
    description: str = Field("", description="what it is for, in a sentence")
    guards: tuple[str, ...] = Field(min_length=1, description="the guards that judge, by name")
    lookahead_chars: int = Field(
        24, ge=0, le=4096, description="text leaves only when text judged safe reaches this far beyond it"
    )
    first_segment_chars: int = Field(
        8, ge=1, le=4096, description="text in the first segment of a stream; small, so that the first words come soon"
    )
    most_segment_chars: int = Field(160, ge=1, le=16384, description="segments double until they have this much text")
    deadline_s: float = Field(5.0, gt=0, le=60, description="a guard that takes longer has failed")
    turns_threshold: float = Field(
        0.8, gt=0, le=1, description="how sure a finding must be that only several turns of a conversation show together"
    )
    on_error: OnError = Field("refuse", description="what a guard that fails, times out or answers nonsense leads to")
    streaming: Literal["hold", "full"] = Field(
        "hold", description="`hold` releases judged segments; `full` releases nothing before the whole answer is judged"
    )
    store: Store = Field("flagged", description="which exchanges the ledger keeps the texts of")
    sample_share: float = Field(0.0, ge=0, le=1, description="share of clean exchanges kept too, with `store: sampled`")
    replacement: str = Field("I can't help with that.", description="what `replace` sends in place of the text")
    uncovered: Uncovered = Field(Uncovered(), description="what happens to what no guard can judge")
    input: dict[str, Rule] = Field({}, description="category: rule, for what callers send")
    output: dict[str, Rule] = Field({}, description="category: rule, for what the model writes")
    exempt: dict[Kind, tuple[str, ...]] = Field(
        {}, description="categories not applied to a kind of text, such as injection to the system prompt"
    )

    @model_validator(mode="after")
    def _known_categories(self) -> "Policy":
        named = {*self.input, *self.output, *(c for cs in self.exempt.values() for c in cs)}
        if unknown := sorted(named - CATEGORIES.keys()):
            raise ValueError(f"unknown categories {unknown}; known: {sorted(CATEGORIES)}")
        if not (self.input or self.output):
            raise ValueError("neither input nor output has a rule: such a policy guards nothing")
        return self

    @model_validator(mode="after")
    def _no_idle_settings(self) -> "Policy":
        if (self.store == "sampled") != (self.sample_share > 0):
            raise ValueError("`store: sampled` and a `sample_share` above 0 need each other")
        if self.first_segment_chars > self.most_segment_chars:
            raise ValueError("first_segment_chars is more than most_segment_chars: segments grow, they never shrink")
        return self

    @cached_property
    def digest(self) -> str:
        body = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()[:16]

    def rules(self, stage: Stage) -> Mapping[str, Rule]:
        return self.input if stage == "input" else self.output


def parse(text: str, origin: str = "policy") -> Policy:
    """A policy from YAML text.

    Raises:
        PolicyError: not YAML, a key is there twice, or a field is wrong, unknown or missing.
    """
    try:
        return validated(Policy, text, origin)
    except DocumentError as error:
        raise PolicyError(str(error)) from error


def load(path: Path = DEFAULT_POLICY) -> Policy:
    """A policy from a file. Raises PolicyError, also when the file cannot be read."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def uncovered_cells(policy: Policy, coverage: Coverage) -> list[str]:
    """Faults of a policy against the guards at hand; empty when it can be used."""
    faults = [f"guards: {g!r} is not loaded (loaded: {sorted(coverage)})" for g in policy.guards if g not in coverage]
    stages: tuple[Stage, ...] = ("input", "output")
    for stage in stages:
        known = frozenset[str]().union(*(coverage[g][stage] for g in policy.guards if g in coverage and g != TRIGGERS))
        faults += [f"{stage}.{c}: no guard of this policy judges it" for c in policy.rules(stage) if c not in known]
    return faults
