"""Judgements + policy -> what to do. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guards.language import CERTAIN, LANGUAGE
from guards.policy import SEVERITY, Action, Policy, Rule
from guards.verdict import Judgement, Passage, Span, Verdict
from service.gate.languages import unread


@dataclass(frozen=True, slots=True)
class Decision:
    """The most severe enforced action, and every verdict that is not a plain pass."""

    action: Action
    verdicts: tuple[Verdict, ...] = ()
    redactions: tuple[Span, ...] = ()
    guard_failed: bool = False  # `action` is refuse because a guard could not judge, not because of what it found

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories that were enforced with `action`."""
        return tuple(
            dict.fromkeys(v.category for v in self.verdicts if v.mode == "enforce" and v.action == self.action)
        )


def decide(passage: Passage, judgements: Sequence[Judgement], policy: Policy, least_threshold: float = 0.0) -> Decision:
    """What the policy makes of the judgements of one passage; no threshold counts as lower than `least_threshold`.

    A category that has a rule but no score (its guard failed, or left it out) falls under `on_error`.
    `redact` without a span to redact is `refuse`: the text could not be made clean.
    """
    exempt = policy.exempt.get(passage.kind, ())
    rules = {c: _raised(r, least_threshold) for c, r in policy.rules(passage.stage).items() if c not in exempt}
    verdicts = [v for c, r in rules.items() for v in _verdicts(c, r, passage, judgements, policy)]
    verdicts += _of_language(passage, judgements, policy)
    enforced = [v for v in verdicts if v.mode == "enforce"]
    action = max((v.action for v in enforced), key=SEVERITY.__getitem__, default="allow")
    failed = action == "refuse" and all(v.error for v in enforced if v.action == "refuse")
    spans = tuple(s for v in enforced if v.action == "redact" for s in v.spans)
    return Decision(action, tuple(verdicts), spans, failed)  # type: ignore[arg-type]  # Verdict.action is plain str


def _of_language(passage: Passage, judgements: Sequence[Judgement], policy: Policy) -> Iterator[Verdict]:
    """What the policy makes of text that no guard can read; none where one that can was asked, whatever it said."""
    if policy.escalate and any(j.guard == policy.escalate for j in judgements):
        return
    action: Action = "refuse" if policy.uncovered.language == "refuse" else "flag"
    rule = Rule(threshold=CERTAIN, action=action)
    for j in judgements:
        if j.guard == LANGUAGE and j.scores is None:
            yield _verdict(LANGUAGE, rule, policy.on_error, passage, j, policy, error=_why(j))
        elif j.guard == LANGUAGE:
            for category, score in unread(passage, judgements, policy).items():
                if policy.uncovered.language == "escalate":
                    yield _verdict(category, rule, policy.on_error, passage, j, policy, error="nobody to escalate to")
                else:
                    yield _verdict(category, rule, action, passage, j, policy, score=score)


def _raised(rule: Rule, least_threshold: float) -> Rule:
    return rule if rule.threshold >= least_threshold else rule.model_copy(update={"threshold": least_threshold})


def _verdicts(
    category: str, rule: Rule, passage: Passage, judgements: Sequence[Judgement], policy: Policy
) -> Iterator[Verdict]:
    """One verdict for each guard that covers the category and has something to say."""
    covering = [j for j in judgements if category in j.categories]
    for j in covering:
        score = j.scores.by_category.get(category) if j.scores else None
        if score is None:
            yield _verdict(category, rule, rule.on_error or policy.on_error, passage, j, policy, error=_why(j))
        elif score >= rule.threshold and rule.action != "allow":
            spans = tuple(s for s in j.scores.spans if s.category == category) if j.scores else ()
            action: Action = "refuse" if rule.action == "redact" and not spans else rule.action
            yield _verdict(category, rule, action, passage, j, policy, score=score, spans=spans)
    if not covering:
        missing = Judgement("none", "", "", frozenset(), error="no guard judged this category")
        yield _verdict(category, rule, rule.on_error or policy.on_error, passage, missing, policy, error=missing.error)


def _why(judgement: Judgement) -> str:
    return judgement.error or "the guard gave no score for this category"


def _verdict(
    category: str,
    rule: Rule,
    action: Action,
    passage: Passage,
    judgement: Judgement,
    policy: Policy,
    score: float | None = None,
    error: str | None = None,
    spans: tuple[Span, ...] = (),
) -> Verdict:
    return Verdict(
        guard=judgement.guard,
        version=judgement.version,
        digest=judgement.digest,
        stage=passage.stage,
        category=category,
        score=score,
        threshold=rule.threshold,
        action=action,
        mode=rule.mode,
        policy=f"{policy.name}@{policy.version}",
        policy_digest=policy.digest,
        error=error,
        spans=spans,
    )
