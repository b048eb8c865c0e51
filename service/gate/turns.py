"""What is split over several turns: the turns of the user read as one text, in windows. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from guards.verdict import Passage, Span

WINDOW_CHARS: Final = 1500
STRIDE_CHARS: Final = 750  # windows begin at its multiples, so those of earlier turns come again as they were


@dataclass(frozen=True, slots=True)
class Part:
    """`chars` characters of passage `index` from `start` on, which are at `at` in the joined text."""

    index: int
    start: int
    at: int
    chars: int


@dataclass(frozen=True, slots=True)
class Joined:
    """Text of two turns or more, to be judged and never to be sent."""

    passage: Passage
    parts: tuple[Part, ...]

    def in_turns(self, spans: Sequence[Span]) -> Iterator[tuple[int, Span]]:
        """The same characters as (index of the passage, span in it)."""
        for part in self.parts:
            shift = part.start - part.at
            for span in spans:
                start, end = max(span.start, part.at), min(span.end, part.at + part.chars)
                if start < end:
                    yield part.index, Span(start + shift, end + shift, span.category)


def joined(passages: Sequence[Passage]) -> list[Joined]:
    """Overlapping windows over what the user wrote, however many turns of others are between.

    What lies `STRIDE_CHARS` apart or less is in one window. A window within one turn would only restate that turn.
    """
    whole, at = "", 0
    parts: list[Part] = []
    for index, passage in enumerate(passages):
        if passage.kind == "prompt":
            parts.append(Part(index, 0, at, len(passage.text)))
            whole += passage.text + " "
            at = len(whole)
    starts = range(0, max(len(whole) - 1 - STRIDE_CHARS, 1), STRIDE_CHARS)
    windows = (_window(whole, parts, start, min(start + WINDOW_CHARS, len(whole) - 1)) for start in starts)
    return [w for w in windows if len(w.parts) > 1]


def _window(whole: str, parts: Sequence[Part], start: int, end: int) -> Joined:
    inside = (
        Part(p.index, max(start - p.at, 0), max(p.at - start, 0), min(p.at + p.chars, end) - max(p.at, start))
        for p in parts
    )
    return Joined(Passage(whole[start:end]), tuple(p for p in inside if p.chars > 0))
