"""A candidate policy over stored traffic: what would have gone otherwise. Pure but for `replay`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from guards.guard import Guard
from guards.language import LANGUAGE, languages_of
from guards.patterns import FOUND
from guards.policy import SEVERITY, Policies, Policy
from guards.verdict import Judgement, Kind, Passage, Scores, Span, Stage, Verdict
from service.gate.decisions import decide
from service.gate.exchange import Judges
from service.gate.generation import KINDS
from service.ledger.models import Exchange
from service.ledger.store import Store
from service.rehearsal.gate import Effect, effect, rehearse
from service.rehearsal.traffic import Recorded, recorded, texts

STAGES: Final[Sequence[Stage]] = ("input", "output")
OTHER_GUARD: Final = "stored scores are of another version of a guard"
NOT_ASKED: Final = "a guard of the candidate did not judge it then"
EXEMPT: Final = "the highest score may be of a text that the candidate exempts"
NO_SCORES: Final = "no scores were stored"


@dataclass(frozen=True, slots=True)
class Replayed:
    """One exchange, as it went and as it would go. A stage that was not judged is in neither."""

    id: str
    before: Mapping[Stage, Effect]
    after: Mapping[Stage, Effect]
    labels: Mapping[str, str]
    unknown: str = ""  # why it cannot be said; it counts nowhere else then
    rejudged: bool = False

    @property
    def states(self) -> tuple[str, str]:
        return state(self.before), state(self.after)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is replayed: the policy for each exchange, and the guards that are loaded now."""

    policy: Callable[[Exchange], Policy]
    guards: Mapping[str, Guard]
    any_version: bool = False
    judges: Judges | None = field(default=None)  # judges kept texts anew


def policy_of(policies: Policies) -> Callable[[Exchange], Policy]:
    """That of a file for the tenant, the key and the moment of an exchange."""
    return lambda e: policies.of(e.tenant, e.key_id, datetime.fromtimestamp(e.asked_at, UTC))


def state(effects: Mapping[Stage, Effect]) -> str:
    """The whole exchange in a word: that of its more severe stage."""
    worst = max(effects.values(), key=lambda e: SEVERITY[e.action], default=Effect())
    return "unavailable" if worst.failed else PAST[worst.action]


PAST: Final[Mapping[str, str]] = {
    "allow": "allowed",
    "flag": "flagged",
    "redact": "redacted",
    "replace": "replaced",
    "refuse": "refused",
}


async def replay(store: Store, candidate: Candidate, since: float, limit: int) -> list[Replayed]:
    """Exchanges since then, newest first; with `candidate.judges`, those with kept texts are judged anew.

    Raises:
        SealError: a kept text does not open.
    """
    found: list[Replayed] = []
    async for one in recorded(store, since, limit):
        kept = await texts(store, one) if candidate.judges else None
        if kept is None or candidate.judges is None:
            found.append(from_scores(one, candidate))
            continue
        asked, generated = kept
        policy = candidate.policy(one.exchange)
        again = await rehearse(candidate.judges, policy, asked, generated, one.exchange.tenant)
        stages = STAGES if generated else STAGES[:1]
        before = {s: effect(one.verdicts, s) for s in stages}
        after = {s: again.effects[s] for s in stages}
        found.append(Replayed(one.exchange.id, before, after, one.labels, rejudged=True))
    return found


def from_scores(one: Recorded, candidate: Candidate) -> Replayed:
    """From the highest scores that were stored, and the verdicts beside them."""
    policy = candidate.policy(one.exchange)
    before = {s: effect(one.verdicts, s) for s in STAGES if _was_judged(one, s)}
    if not before:
        return Replayed(one.exchange.id, {}, {}, one.labels, NO_SCORES)
    if not candidate.any_version and _other_version(one, candidate, policy):
        return Replayed(one.exchange.id, before, {}, one.labels, OTHER_GUARD)
    after: dict[Stage, Effect] = {}
    for stage in before:
        decided = _decided(one, stage, policy, candidate.guards)
        if isinstance(decided, str):
            return Replayed(one.exchange.id, before, {}, one.labels, decided)
        after[stage] = decided
    return Replayed(one.exchange.id, before, after, one.labels)


def _was_judged(one: Recorded, stage: Stage) -> bool:
    return any(s[stage] for s in one.scores.values()) or any(v.stage == stage for v in one.verdicts)


def _other_version(one: Recorded, candidate: Candidate, policy: Policy) -> bool:
    stored = {name: s["digest"] for name, s in one.scores.items()}
    return any(name in stored and stored[name] != candidate.guards[name].digest for name in policy.guards)


def _decided(one: Recorded, stage: Stage, policy: Policy, guards: Mapping[str, Guard]) -> Effect | str:
    """The candidate's effect, or why it cannot be told."""
    too = {LANGUAGE, policy.escalate or LANGUAGE} & guards.keys()  # asked of some texts only
    names = (*policy.guards, *(name for name in too if one.scores.get(name, {}).get(stage)))
    judgements = [_judgement(one, stage, guards[name]) for name in names]
    plain = policy.model_copy(update={"exempt": {}})  # of which text a highest score is, it does not say
    passage = Passage("", "prompt" if stage == "input" else "response")
    verdicts = [
        *decide(passage, judgements, plain).verdicts,
        *_of_turns(one, stage, plain),
        *_failures(one, stage, plain),
    ]
    if any(v.error == NOT_ASKED or (v.error and not _failed(one, v)) for v in verdicts):
        return NOT_ASKED
    certain = [v for v in verdicts if not _doubtful(one, v, policy)]
    known, at_most = effect(certain, stage), effect(verdicts, stage)
    return known if known.action == at_most.action else EXEMPT


def _judgement(one: Recorded, stage: Stage, guard: Guard) -> Judgement:
    """What the guard said then, as far as it was stored; with a span for `redact` where there was one or would be."""
    stored = one.scores.get(guard.name, {})
    scores: Mapping[str, float] = stored.get(stage, {})
    common = (guard.name, stored.get("version", guard.version), stored.get("digest", guard.digest))
    languages = languages_of(guard)
    if not scores:
        errors = [v.error for v in one.verdicts if v.guard == guard.name and v.stage == stage and v.error]
        return Judgement(*common, guard.covers(stage), None, errors[0] if errors else NOT_ASKED, languages=languages)
    marked = {v.category for v in one.verdicts if v.stage == stage and v.spans} | FOUND
    spans = tuple(Span(0, 0, c) for c in scores if c in marked)
    return Judgement(*common, guard.covers(stage), Scores(scores, spans), languages=languages)


def _of_turns(one: Recorded, stage: Stage, policy: Policy) -> Iterator[Verdict]:
    """What several turns showed together: above the highest score of any text, so only its verdict is known."""
    for row in one.verdicts:
        highest = one.scores.get(row.guard, {}).get(stage, {}).get(row.category, 1.0)
        if row.stage == stage == "input" and (row.score or 0) > highest:
            said = Judgement(
                row.guard, row.version, row.digest, frozenset([row.category]), Scores({row.category: row.score or 0})
            )
            found = decide(Passage(""), [said], policy, policy.turns_threshold).verdicts
            yield from (v for v in found if v.error is None)


def _failures(one: Recorded, stage: Stage, policy: Policy) -> Iterator[Verdict]:
    """What the policy makes of a guard that failed on one text, whatever it said of the others."""
    for row in one.verdicts:
        if row.error and row.stage == stage and row.guard in policy.guards:
            failed = Judgement(row.guard, row.version, row.digest, frozenset([row.category]), error=row.error)
            passage = Passage("", "prompt" if stage == "input" else "response")
            yield from (v for v in decide(passage, [failed], policy).verdicts if v.guard == row.guard)


def _failed(one: Recorded, verdict: Verdict) -> bool:
    """Whether the guard failed then, rather than never having been asked."""
    return any(v.error and (v.guard, v.stage) == (verdict.guard, verdict.stage) for v in one.verdicts)


def _doubtful(one: Recorded, verdict: Verdict, policy: Policy) -> bool:
    """Whether the score may be of a text that is exempt, and no stored verdict says that it is of another one."""
    exempt = {kind for kind, categories in policy.exempt.items() if verdict.category in categories}
    if verdict.score is None or not any(Passage("", kind).stage == verdict.stage for kind in exempt):
        return False
    return not any(
        v.category == verdict.category
        and (v.score or 0) >= verdict.threshold
        and (v.guard, v.stage) == (verdict.guard, verdict.stage)
        and _kind(v.channel) not in exempt
        for v in one.verdicts
    )


def _kind(channel: str | None) -> Kind:
    """Of the judged text: a verdict's channel is the kind of an input, and the channel of an output."""
    return KINDS.get(channel, channel)  # type: ignore[call-overload, no-any-return]  # stored as plain text
