"""What a caller sent, read by the judges: every text alone, and the turns of a conversation together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from guards.policy import Policy
from guards.verdict import Judgement, Passage, Span
from service.gate.decisions import Decision, decide
from service.gate.exchange import Judges
from service.gate.turns import Joined, joined


@dataclass(frozen=True, slots=True)
class Read:
    """One judged text and what the policy makes of it. `joined` is set where it is several turns as one text."""

    passage: Passage
    judgements: Sequence[Judgement]
    decision: Decision
    joined: Joined | None = None


async def read(
    judges: Judges, passages: Sequence[Passage], policy: Policy, tenant: str, conversation: bool
) -> list[Read]:
    """All `passages` in order, then, of a `conversation`, its joined turns. All are judged in one go."""
    windows = joined(passages) if conversation else []
    texts = [*passages, *(w.passage for w in windows)]
    judgements = await judges.judge(texts, policy, tenant)
    alone = [Read(p, j, decide(p, j, policy)) for p, j in zip(passages, judgements, strict=False)]
    return alone + list(_together(alone, windows, judgements[len(passages) :], policy))


def _together(
    alone: Sequence[Read], windows: Sequence[Joined], judgements: Sequence[Sequence[Judgement]], policy: Policy
) -> Iterator[Read]:
    """What only several turns show: without the verdicts that one of them, or an earlier window, brought about."""
    told: set[tuple[str, ...]] = set()
    for window, judged in zip(windows, judgements, strict=True):
        decision = decide(window.passage, judged, policy, policy.turns_threshold)
        known = told.union(v.kind for part in window.parts for v in alone[part.index].decision.verdicts)
        fresh = tuple(v for v in decision.verdicts if v.kind not in known)
        told.update(v.kind for v in fresh)
        yield Read(window.passage, judged, replace(decision, verdicts=fresh), window)


def redactions(found: Sequence[Read]) -> list[list[Span]]:
    """What to take out of each text that was sent; what reaches over several turns is taken out of each."""
    spans: list[list[Span]] = [list(r.decision.redactions) for r in found if r.joined is None]
    for index, span in _of_turns(found):
        spans[index].append(span)
    return spans


def _of_turns(found: Sequence[Read]) -> Iterator[tuple[int, Span]]:
    for r in found:
        if r.joined is not None:
            yield from r.joined.in_turns(r.decision.redactions)
