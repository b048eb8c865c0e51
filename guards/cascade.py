"""A cheap guard first; where it is unsure, and for a random sample, a stronger one. Pure but for the two guards."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from guards.document import Strict
from guards.guard import Guard, GuardError, Reaching
from guards.language import languages_of
from guards.taxonomy import NAME
from guards.verdict import Languages, Passage, Scores, Stage

STAGES: Final[tuple[Stage, ...]] = ("input", "output")


def _rising(band: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= band[0] <= band[1] <= 1:
        raise ValueError("a band is two probabilities, the lower one first")
    return band


Band = Annotated[tuple[float, float], AfterValidator(_rising)]


class CascadeSpec(Strict):
    """Two guards of the guards file, or that ship, as one."""

    kind: Literal["cascade"] = "cascade"
    first: str = Field(description="the guard that judges everything")
    then: str = Field(description="the stronger one, asked where the first is unsure")
    band: Band | dict[Annotated[str, Field(pattern=NAME)], Band] = Field(
        (0.2, 0.8),
        description="scores of the first, both ends included, in which it is unsure: of all categories or of each",
    )
    sample: float = Field(0.0, ge=0, le=1, description="share of other passages that go to the second too")
    seed: int = Field(0, description="another one takes another sample")


@dataclass(frozen=True, slots=True)
class Escalation:
    """What the second guard is asked: `unsure` are the categories in their band, `asked` those it decides."""

    unsure: frozenset[str]
    asked: frozenset[str]

    @property
    def why(self) -> str:
        return "unsure" if self.unsure else "sample"


class Cascade:
    """`Guard` over two. It covers what the first covers.

    The score of a category is the second's where it was asked for it, else the first's. When the second fails, the
    categories that the first was unsure of have no score, so that the policy's `on_error` decides them; what the first
    was sure of stands.

    Raises:
        GuardError: a band is for a category that not both judge at one stage.
    """

    def __init__(self, name: str, spec: CascadeSpec, first: Guard, then: Guard) -> None:
        self.name, self.spec, self.first, self.then = name, spec, first, then
        self.version = f"{first.version}+{then.version}"
        parts = [first.digest, then.digest, spec.model_dump(mode="json")]
        self.digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        self.most_chars = min((g.most_chars for g in (first, then) if g.most_chars is not None), default=None)
        self.reach_chars = max(g.reach_chars if isinstance(g, Reaching) else 0 for g in (first, then))
        self.languages: Languages | None = languages_of(first)
        self.escalated: Counter[str] = Counter()  # why -> passages
        self._bands = {stage: self._banded(stage) for stage in STAGES}
        known = frozenset[str]().union(*self._bands.values())
        if missing := sorted(self._named() - known) or not known:
            raise GuardError(
                f"{first.name} and {then.name} do not both judge {missing if self._named() else 'anything'}"
            )

    def covers(self, stage: Stage) -> frozenset[str]:
        return self.first.covers(stage)

    def judge(self, passages: Sequence[Passage]) -> list[Scores]:
        """Both in turn. Where there are lanes they ask each in its own: see `escalation` and `settled`."""
        scores = self.first.judge(passages)
        doubts = {i: e for i, (p, s) in enumerate(zip(passages, scores, strict=True)) if (e := self.escalation(p, s))}
        if not doubts:
            return scores
        try:
            more: Sequence[Scores | None] = self.then.judge([passages[i] for i in doubts])
        except GuardError:
            self.escalated["failed"] += len(doubts)
            more = [None] * len(doubts)
        for (i, escalation), second in zip(doubts.items(), more, strict=True):
            self.escalated[escalation.why] += 1
            scores[i] = settled(scores[i], second, escalation)
        return scores

    def escalation(self, passage: Passage, scores: Scores) -> Escalation | None:
        """What to ask the second guard, given what the first says."""
        bands = self._bands[passage.stage]
        found = scores.by_category
        unsure = frozenset(c for c, (low, high) in bands.items() if c in found and low <= found[c] <= high)
        if self._sampled(passage):
            return Escalation(unsure, frozenset(bands)) if bands else None
        return Escalation(unsure, unsure) if unsure else None

    def _sampled(self, passage: Passage) -> bool:
        """By a hash, so that the same text is in the sample or not; an answer by what it answers: all of it or none."""
        if not self.spec.sample:
            return False
        text = passage.prompt if passage.stage == "output" else passage.text
        key = str(self.spec.seed).encode()
        drawn = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=key, digest_size=8).digest()
        return int.from_bytes(drawn) < self.spec.sample * 2**64

    def _named(self) -> frozenset[str]:
        return frozenset(self.spec.band) if isinstance(self.spec.band, dict) else frozenset()

    def _banded(self, stage: Stage) -> Mapping[str, Band]:
        shared = sorted(self.first.covers(stage) & self.then.covers(stage))
        band = self.spec.band
        return {c: band[c] for c in shared if c in band} if isinstance(band, dict) else dict.fromkeys(shared, band)


def settled(first: Scores, second: Scores | None, escalation: Escalation) -> Scores:
    """The scores of both as one; None: the second failed."""
    if second is None:
        left = {c: p for c, p in first.by_category.items() if c not in escalation.unsure}
        return Scores(left, tuple(s for s in first.spans if s.category in left))
    scores = {c: p for c, p in first.by_category.items() if c not in escalation.asked}
    scores |= {c: p for c, p in second.by_category.items() if c in escalation.asked}
    marked = {s.category for s in second.spans} & escalation.asked  # the second's spans, where it has any
    spans = [s for s in first.spans if s.category not in marked] + [s for s in second.spans if s.category in marked]
    return Scores(scores, tuple(sorted(spans, key=lambda s: (s.start, s.end))))
