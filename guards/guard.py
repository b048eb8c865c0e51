"""The protocol every guard speaks."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from guards.verdict import Languages, Passage, Scores, Stage


class GuardError(Exception):
    """A guard could not judge. Never a clean verdict: the policy's `on_error` decides."""


class Guard(Protocol):
    """Judges batches of passages. `judge` blocks, is called off the event loop, one call at a time.

    Raises:
        GuardError: the guard failed or answered something that cannot be parsed.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def digest(self) -> str:
        """sha256 over weights, tokenizer and calibration (or rules): the identity of a verdict."""
        ...

    @property
    def most_chars(self) -> int | None:
        """Longest text to be given at once, so that a long one cannot keep others waiting; None: any length."""
        ...

    def covers(self, stage: Stage) -> frozenset[str]:
        """The categories it scores at a stage; it leaves out all others there."""
        ...

    def judge(self, passages: Sequence[Passage]) -> list[Scores]:
        """Scores in the order of `passages`. Every character from `since` on is read, however long the text."""
        ...


@runtime_checkable
class Reaching(Protocol):
    """A guard that must see a finding whole. A policy that streams has to hold back as many characters."""

    @property
    def reach_chars(self) -> int: ...


@runtime_checkable
class Measured(Protocol):
    """A guard that says in which languages it was measured. One that does not counts as measured in English only."""

    @property
    def languages(self) -> Languages | None:
        """ISO 639 code -> category -> recall; None where it judges characters, whatever the language."""
        ...
