"""Judgements and policy to an action."""

import pytest

from guards.policy import Policy
from guards.verdict import Judgement, Passage, Scores, Span
from service.gate.decisions import decide


def policy(**rules):
    return Policy.model_validate(
        {"name": "t", "version": 1, "guards": ["g"], "on_error": rules.pop("on_error", "refuse"), "input": rules}
    )


def judgement(scores=None, spans=(), error=None, categories=("harm", "toxicity", "email")):
    return Judgement("g", "1", "d", frozenset(categories), Scores(scores, spans) if scores is not None else None, error)


HARMFUL = {"harm": 0.9, "toxicity": 0.1, "email": 0.0}


@pytest.mark.parametrize(("score", "action"), [(0.49, "allow"), (0.5, "refuse"), (0.9, "refuse")])
def test_threshold_is_inclusive(score, action):
    """A score at the threshold triggers; one below does not."""
    decision = decide(Passage("x"), [judgement({"harm": score})], policy(harm={"threshold": 0.5}))
    assert decision.action == action
    assert bool(decision.verdicts) == (action != "allow")


def test_the_most_severe_action_wins():
    """Flag beside refuse is refuse, and both verdicts are kept."""
    rules = policy(harm={"action": "flag"}, toxicity={"threshold": 0.1, "action": "refuse"})
    decision = decide(Passage("x"), [judgement(HARMFUL)], rules)
    assert decision.action == "refuse"
    assert {v.category for v in decision.verdicts} == {"harm", "toxicity"}
    assert decision.categories == ("toxicity",)


def test_shadow_records_but_does_not_act():
    """A rule in shadow mode gives a verdict and no action."""
    decision = decide(Passage("x"), [judgement(HARMFUL)], policy(harm={"mode": "shadow"}))
    assert decision.action == "allow"
    assert [v.mode for v in decision.verdicts] == ["shadow"]


@pytest.mark.parametrize(
    ("on_error", "action", "failed"), [("refuse", "refuse", True), ("flag", "flag", False), ("allow", "allow", False)]
)
def test_a_failed_guard_follows_on_error(on_error, action, failed):
    """A guard that failed is never a clean verdict: the policy's on_error decides, and the verdict says why."""
    decision = decide(Passage("x"), [judgement(error="deadline")], policy(harm={}, on_error=on_error))
    assert (decision.action, decision.guard_failed) == (action, failed)
    assert decision.verdicts[0].error == "deadline"


def test_a_category_overrides_on_error():
    """on_error is per category."""
    rules = policy(harm={"on_error": "allow"}, toxicity={"on_error": "refuse"})
    assert decide(Passage("x"), [judgement(error="x")], rules).guard_failed


def test_a_missing_score_is_an_error():
    """A guard that leaves out a category it covers has not judged it."""
    decision = decide(Passage("x"), [judgement({"toxicity": 0.0})], policy(harm={}))
    assert decision.guard_failed
    assert "no score" in decision.verdicts[0].error


def test_a_category_that_no_guard_covers_is_an_error():
    """A rule that nobody judges refuses instead of passing."""
    assert decide(Passage("x"), [judgement({}, categories=())], policy(harm={})).guard_failed


def test_a_finding_beside_a_failure_is_a_policy_refusal():
    """When one guard refuses for what it found, the refusal is the policy's, not the failure's."""
    rules = policy(harm={}, toxicity={})
    decision = decide(Passage("x"), [judgement({"harm": 1.0})], rules)
    assert decision.action == "refuse"
    assert not decision.guard_failed


def test_redact_without_spans_refuses():
    """A text that cannot be made clean is refused."""
    rules = policy(email={"action": "redact"})
    assert decide(Passage("x"), [judgement({"email": 1.0})], rules).action == "refuse"
    spans = (Span(0, 1, "email"),)
    decision = decide(Passage("x"), [judgement({"email": 1.0}, spans)], rules)
    assert (decision.action, decision.redactions) == ("redact", spans)


def test_exempt_kinds_skip_a_category():
    """The system prompt is not judged for categories the policy exempts it from."""
    rules = policy(harm={}).model_copy(update={"exempt": {"system": ("harm",)}})
    assert decide(Passage("x", "system"), [judgement(HARMFUL)], rules).action == "allow"
    assert decide(Passage("x", "prompt"), [judgement(HARMFUL)], rules).action == "refuse"
