"""Cases for a policy: what is asked and answered, and what should become of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from guards.policy import Action, Policies
from service.api.chat import asked
from service.api.schemas import ChatRequest
from service.gate.exchange import Asked, Judges
from service.rehearsal.gate import Rehearsed, rehearse

MODEL: Final = "rehearsal"
SHIPPED: Final = Path(__file__).with_name("cases.yaml")


class CaseError(ValueError):
    """A file of cases cannot be used. The message names the case and the fault."""


class Case(BaseModel):
    """One exchange and what is expected of it: the most severe action, at which stage, for which categories."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str | None = Field(None, min_length=1, description="what the user asks; or `messages`")
    messages: list[dict[str, Any]] | None = Field(None, min_length=1, description="a conversation in OpenAI's shape")
    response: str = Field("", description="what the model answers; nothing if not given")
    expect: Action = Field(description="what should become of the exchange")
    stage: Literal["input", "output"] | None = Field(None, description="where; anywhere if not given")
    categories: tuple[str, ...] = Field((), description="categories that must be among those that bring it about")
    tenant: str = Field("default", description="whose policy")
    key: str = Field("key_rehearsal", description="the key id whose policy")
    at: datetime | None = Field(None, description="the moment whose schedule applies; now if not given")
    note: str = Field("", description="what the case is about; shown in place of its text")

    @model_validator(mode="after")
    def _asks(self) -> "Case":
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either `prompt` or `messages`")
        if self.expect == "allow" and self.categories:
            raise ValueError("`expect: allow` has no categories")
        try:
            self.asked()
        except ValidationError as error:
            raise ValueError("messages: " + error.errors()[0]["msg"]) from error
        return self

    def asked(self) -> Asked:
        """As the API would read it."""
        messages = self.messages or [{"role": "user", "content": self.prompt}]
        return asked(ChatRequest.model_validate({"model": MODEL, "messages": messages}))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case. `fault` is empty where it went as expected."""

    case: Case
    rehearsed: Rehearsed
    fault: str


def read(path: Path) -> list[Case]:
    """Cases from YAML (a list, or `cases:`) or JSONL. Raises CaseError with every fault."""
    try:
        found = list(_objects(path))
    except (OSError, UnicodeDecodeError) as error:
        raise CaseError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise CaseError(f"{path}: neither JSONL nor YAML: {error}") from error
    cases, faults = [], []
    for number, value in enumerate(found, 1):
        try:
            cases.append(Case.model_validate(value))
        except ValidationError as error:
            faults += [f"case {number}: {'.'.join(map(str, e['loc'])) or 'case'}: {e['msg']}" for e in error.errors()]
    if faults or not cases:
        raise CaseError(f"{path}:" + "".join(f"\n  {f}" for f in faults or ["there is no case in it"]))
    return cases


def _objects(path: Path) -> Iterator[Any]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        yield from (json.loads(line) for line in text.splitlines() if line.strip())
        return
    content = yaml.safe_load(text)
    yield from (content.get("cases") if isinstance(content, Mapping) else content) or ()


async def run(judges: Judges, policies: Policies, cases: Sequence[Case]) -> list[Outcome]:
    """Every case through the gate, in order, each under the policy of its tenant, key and moment."""
    outcomes = []
    for case in cases:
        answers = {"0/content": case.response} if case.response else {}
        at = case.at or datetime.now(UTC)
        policy = policies.of(case.tenant, case.key, at if at.tzinfo else at.replace(tzinfo=UTC))
        rehearsed = await rehearse(judges, policy, case.asked(), answers, case.tenant)
        outcomes.append(Outcome(case, rehearsed, fault(case, rehearsed)))
    return outcomes


def fault(case: Case, rehearsed: Rehearsed) -> str:
    """Why it did not go as expected; a guard that could not judge is never what was expected."""
    if any(v.error is not None for v in rehearsed.verdicts):
        return "a guard could not judge: " + next(v.error for v in rehearsed.verdicts if v.error)
    met = rehearsed.effects[case.stage] if case.stage else rehearsed.effect
    if met.action != case.expect:
        return f"{met.action}, not {case.expect} ({_said(rehearsed)})"
    brought = {c for e in rehearsed.effects.values() for c, action in e.found.items() if action == case.expect}
    if missing := sorted(set(case.categories) - brought):
        return f"{met.action} not for {', '.join(missing)} ({_said(rehearsed)})"
    return ""


def _said(rehearsed: Rehearsed) -> str:
    """What was found at each stage."""
    found = [f"{s}.{c}: {action}" for s, e in rehearsed.effects.items() for c, action in e.found.items()]
    return ", ".join(found) or "nothing was found"
