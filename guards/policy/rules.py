"""What to do with which score. Pure."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from guards.document import Strict
from guards.taxonomy import CATEGORIES, OwnCategory, OwnName, parse_categories
from guards.trigger import TRIGGERS
from guards.verdict import Kind, Stage

Action = Literal["allow", "flag", "redact", "replace", "refuse"]
Mode = Literal["enforce", "shadow"]
OnError = Literal["refuse", "flag", "allow"]
OnLanguage = Literal["escalate", "flag", "refuse"]
Store = Literal["none", "metadata", "flagged", "sampled"]
Coverage = Mapping[str, Mapping[Stage, frozenset[str]]]  # guard name -> stage -> categories it judges

SEVERITY: Final[Mapping[str, int]] = {"allow": 0, "flag": 1, "redact": 2, "replace": 3, "refuse": 4}
DEFAULT_POLICY: Final = Path(__file__).parents[1] / "policies" / "default.yaml"


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
    language: OnLanguage = Field("flag", description="text in a language that the guards were not measured in")
    language_recall: float = Field(0.5, gt=0, le=1, description="recall of a category from which on that is measured")
    accepted_languages: tuple[Annotated[str, Field(pattern="^[a-z]{2,3}$")], ...] = Field(
        (), description="ISO 639 codes of languages to take as measured, on your own word"
    )


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
        0.9,
        gt=0,
        le=1,
        description="how sure a finding must be that only several turns together show",
    )
    on_error: OnError = Field("refuse", description="what a guard that fails, times out or answers nonsense leads to")
    streaming: Literal["hold", "full"] = Field(
        "hold", description="`hold` releases judged segments; `full` releases nothing before the whole answer is judged"
    )
    store: Store = Field("flagged", description="which exchanges the ledger keeps the texts of")
    sample_share: float = Field(0.0, ge=0, le=1, description="share of clean exchanges kept too, with `store: sampled`")
    replacement: str = Field("I can't help with that.", description="what `replace` sends in place of the text")
    uncovered: Uncovered = Field(Uncovered(), description="what happens to what no guard can judge")
    escalate: str | None = Field(
        None,
        description="with `uncovered.language: escalate`: the guard that also judges such text",
    )
    categories: dict[OwnName, OwnCategory] = Field({}, description="categories of your own, beside the taxonomy's")
    input: dict[str, Rule] = Field({}, description="category: rule, for what callers send")
    output: dict[str, Rule] = Field({}, description="category: rule, for what the model writes")
    exempt: dict[Kind, tuple[str, ...]] = Field(
        {}, description="categories not applied to a kind of text, such as injection to the system prompt"
    )

    @model_validator(mode="after")
    def _known_categories(self) -> "Policy":
        named = {*self.input, *self.output, *(c for cs in self.exempt.values() for c in cs)}
        known = CATEGORIES.keys() | parse_categories(self.categories).keys()
        if unknown := sorted(named - known):
            raise ValueError(f"unknown categories {unknown}; known: {sorted(known)}")
        if not (self.input or self.output):
            raise ValueError("neither input nor output has a rule: such a policy guards nothing")
        return self

    @model_validator(mode="after")
    def _somebody_to_escalate_to(self) -> "Policy":
        if self.uncovered.language == "escalate" and self.escalate is None:
            raise ValueError("`uncovered.language: escalate` needs `escalate`: the guard that judges then")
        if self.escalate in self.guards:
            raise ValueError(f"escalate: {self.escalate!r} judges everything already, as one of `guards`")
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
        body = json.dumps(self._content(), sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()[:16]

    def _content(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)

    def rules(self, stage: Stage) -> Mapping[str, Rule]:
        return self.input if stage == "input" else self.output


def short_lookahead(policy: Policy, coverage: Coverage, reach_chars: Mapping[str, int]) -> list[str]:
    """Guards of a policy, of those in `reach_chars`, whose findings in an answer may be too long to be held back."""
    if policy.streaming == "full":
        return []
    named = (*policy.guards, *([policy.escalate] if policy.escalate else []))
    judging = [g for g in named if g in coverage and coverage[g]["output"] & policy.output.keys()]
    least = {g: reach_chars[g] for g in judging if g in reach_chars}
    return [
        f"lookahead_chars: {policy.lookahead_chars} is too little for guard {g!r}, whose longest entry takes {chars}: "
        "raise it, shorten the entry, or say `streaming: full`"
        for g, chars in least.items()
        if chars > policy.lookahead_chars
    ]


def uncovered_cells(policy: Policy, coverage: Coverage) -> list[str]:
    """Faults of a policy against the guards at hand; empty when it can be used."""
    named = [*policy.guards, *([policy.escalate] if policy.escalate else [])]
    faults = [f"guards: {g!r} is not loaded (loaded: {sorted(coverage)})" for g in named if g not in coverage]
    strong = coverage.get(policy.escalate) if policy.escalate else None
    stages: tuple[Stage, ...] = ("input", "output")
    for stage in stages:
        rules = policy.rules(stage)
        known = frozenset[str]().union(*(coverage[g][stage] for g in policy.guards if g in coverage and g != TRIGGERS))
        faults += [f"{stage}.{c}: no guard of this policy judges it" for c in rules if c not in known]
        if rules and strong is not None and not strong[stage] & rules.keys():
            faults.append(f"escalate: {policy.escalate!r} judges no category that has a rule for {stage}")
    return faults
