"""What to do with which score: one YAML file, checked whole before any of it is in force. Pure but for `load`."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from guards.taxonomy import CATEGORIES
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


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rule(_Strict):
    """One category at one stage. A score at or above `threshold` (a probability) triggers `action`."""

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    action: Action = "refuse"
    mode: Mode = "enforce"
    on_error: OnError | None = Field(None, description="when the guard fails; the policy's `on_error` if not given")


class Uncovered(_Strict):
    """What happens to what no guard can judge."""

    modality: Literal["refuse"] = Field("refuse", description="images, audio, files")


class Policy(_Strict):
    """Thresholds, actions and release settings in force for a caller. Same content, same `digest`."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    version: Annotated[int, Field(ge=1)]
    description: str = ""
    guards: Annotated[tuple[str, ...], Field(min_length=1)]
    lookahead_chars: Annotated[int, Field(ge=0, le=4096)] = 24
    first_segment_chars: Annotated[int, Field(ge=1, le=4096)] = 8
    most_segment_chars: Annotated[int, Field(ge=1, le=16384)] = 160
    deadline_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    on_error: OnError = "refuse"
    streaming: Literal["hold", "full"] = "hold"
    store: Store = "flagged"
    sample_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    replacement: str = "I can't help with that."
    uncovered: Uncovered = Uncovered()
    input: dict[str, Rule] = {}
    output: dict[str, Rule] = {}
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

    @cached_property
    def digest(self) -> str:
        body = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()[:16]

    def rules(self, stage: Stage) -> Mapping[str, Rule]:
        return self.input if stage == "input" else self.output


def parse(text: str, origin: str = "policy") -> Policy:
    """A policy from YAML text.

    Raises:
        PolicyError: not YAML, or a field is wrong, unknown or missing.
    """
    try:
        return Policy.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise PolicyError(f"{origin}: not valid YAML: {error}") from error
    except ValidationError as error:
        faults = [f"  {'.'.join(map(str, e['loc'])) or '(whole file)'}: {e['msg']}" for e in error.errors()]
        raise PolicyError(f"{origin}:\n" + "\n".join(faults)) from error


def load(path: Path = DEFAULT_POLICY) -> Policy:
    """A policy from a file. Raises PolicyError, also when the file cannot be read."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path}: cannot be read: {error}") from error


def uncovered_cells(policy: Policy, coverage: Coverage) -> list[str]:
    """Faults of a policy against the guards at hand; empty when it can be used."""
    faults = [f"guards: {g!r} is not loaded (loaded: {sorted(coverage)})" for g in policy.guards if g not in coverage]
    stages: tuple[Stage, ...] = ("input", "output")
    for stage in stages:
        known = frozenset[str]().union(*(coverage[g][stage] for g in policy.guards if g in coverage))
        faults += [f"{stage}.{c}: no guard of this policy judges it" for c in policy.rules(stage) if c not in known]
    return faults
