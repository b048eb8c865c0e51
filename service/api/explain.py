"""POST /v1/explain: a dry run over the caller's policy. Which guard said what of which part, and what would happen."""

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from guards.policy import SEVERITY, Policy, Rule
from guards.verdict import Judgement, Passage, Verdict
from service.api.passages import Path, of_chat
from service.api.schemas import Message, Strict, Tool
from service.gate.decisions import decide
from service.gate.exchange import Caller, Json
from service.gate.pipeline import Gate, examine
from service.gate.reading import Read
from service.gate.turns import Joined


class ExplainRequest(Strict):
    """Texts as they would be sent, and perhaps an answer as a model would write it."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=2048)] | None = None
    prompt: str | None = Field(None, min_length=1, description="in place of messages: one user turn")
    tools: Annotated[list[Tool], Field(min_length=1, max_length=128)] | None = None
    response: str | None = Field(None, min_length=1, description="an answer, judged in the light of the last prompt")

    @model_validator(mode="after")
    def _one_of_both(self) -> "ExplainRequest":
        if (self.messages is None) == (self.prompt is None):
            raise PydanticCustomError("one_of", "Send either messages or prompt.")
        return self


async def explain(gate: Gate, request: ExplainRequest, caller: Caller) -> Json:
    """The scores, thresholds and actions of every part, failures of guards included.

    Raises:
        Overloaded, EngineRejected: too many requests at once, too much text.
    """
    policy = gate.policy(caller)
    parts = list(_parts(request))
    found = await examine(gate, [passage for _, passage in parts], policy, caller.tenant, conversation=True)
    names = [name for name, _ in parts]
    return {
        "policy": {"name": policy.name, "version": policy.version, "digest": policy.digest},
        "input": _outcome([r for r in found if r.passage.stage == "input"]),
        "output": _outcome([r for r in found if r.passage.stage == "output"]) if request.response else None,
        "parts": [
            _part(r, [names[number]] if r.joined is None else _turns(r.joined, names), policy)
            for number, r in enumerate(found)
        ],
    }


def _parts(request: ExplainRequest) -> Iterator[tuple[str, Passage]]:
    """Every judged text with its place in the request."""
    body = request.model_dump(mode="json", exclude_unset=True)
    if request.prompt is not None:
        yield "prompt", Passage(request.prompt)
    else:
        places = of_chat(body)
        yield from zip((_name(p.path) for p in places.places), places.passages(), strict=True)
    if request.response is not None:
        prompts = [request.prompt or "", *(m.content for m in request.messages or () if m.role == "user")]
        yield "response", Passage(request.response, "response", prompts[-1])


def _name(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _turns(joined: Joined, names: Sequence[str]) -> list[str]:
    return [names[part.index] for part in joined.parts]


def _outcome(found: Sequence[Read]) -> Json:
    """What would happen to all of them together: the most severe action, and the categories it is for."""
    action = max((r.decision.action for r in found), key=SEVERITY.__getitem__, default="allow")
    worst = [r.decision for r in found if r.decision.action == action and action != "allow"]
    return {
        "action": action,
        "guard_failed": bool(worst) and all(d.guard_failed for d in worst),
        "categories": sorted({c for d in worst for c in d.categories}),
    }


def _part(read: Read, of: Sequence[str], policy: Policy) -> Json:
    least = policy.turns_threshold if read.joined else 0.0
    verdicts = decide(read.passage, read.judgements, policy, least).verdicts
    rules = policy.rules(read.passage.stage)
    exempt = policy.exempt.get(read.passage.kind, ())
    scored = [(j, c, s) for j in read.judgements if j.scores for c, s in j.scores.by_category.items()]
    known = {(v.guard, v.category) for v in verdicts}
    rows = [_finding(v) for v in verdicts]
    for judgement, category, score in scored:
        if (judgement.guard, category) not in known:
            rule = None if category in exempt else rules.get(category)
            rows.append(_pass(judgement, category, score, rule, least))
    return {
        "part": "turns" if read.joined else of[0],
        "of": list(of),
        "kind": read.passage.kind,
        "stage": read.passage.stage,
        "chars": len(read.passage.text),
        "action": read.decision.action,
        "guard_failed": read.decision.guard_failed,
        "findings": rows,
    }


def _finding(verdict: Verdict) -> Json:
    return {
        "guard": verdict.guard,
        "version": verdict.version,
        "digest": verdict.digest,
        "category": verdict.category,
        "score": verdict.score,
        "threshold": verdict.threshold,
        "action": verdict.action,
        "mode": verdict.mode,
        "spans": [[s.start, s.end] for s in verdict.spans],
        "error": verdict.error,
    }


def _pass(judgement: Judgement, category: str, score: float, rule: Rule | None, least_threshold: float) -> Json:
    """A score that brings nothing about; without a threshold where the policy has no rule for it there."""
    return {
        "guard": judgement.guard,
        "version": judgement.version,
        "digest": judgement.digest,
        "category": category,
        "score": score,
        "threshold": max(rule.threshold, least_threshold) if rule else None,
        "action": "allow",
        "mode": rule.mode if rule else None,
        "spans": [],
        "error": None,
    }
