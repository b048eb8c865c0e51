"""What is split over several turns: the turns of the user read as one text, in windows. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from guards.verdict import Passage, Span

NEAR_TURNS: Final = 3
NEAR_CHARS: Final = 750
RECENT: Final = 32  # earlier ones were near when they were sent; a forged history is read in long windows
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
    """Windows over what the user wrote, however many turns of others are between: first each of the `RECENT` last turns
    with the two before it, then long ones over everything. What lies `STRIDE_CHARS` apart or less is in a long one.

    A window within one turn would only restate that turn. Texts of earlier windows stay the same as the turns grow.
    """
    at, texts, turns = 0, list[str](), list[Part]()
    for index, passage in enumerate(passages):
        if passage.kind == "prompt":
            turns.append(Part(index, 0, at, len(passage.text)))
            texts.append(passage.text)
            at += len(passage.text) + 1
    whole = " ".join(texts)
    places = dict.fromkeys((*_near(turns), *_long(len(whole))))
    windows = (_window(whole, turns, start, end) for start, end in places)
    return [w for w in windows if len(w.parts) > 1]


def _near(turns: Sequence[Part]) -> Iterator[tuple[int, int]]:
    for last in range(max(1, len(turns) - RECENT), len(turns)):
        end = turns[last].at + turns[last].chars
        yield max(turns[max(last - NEAR_TURNS + 1, 0)].at, end - NEAR_CHARS), end


def _long(chars: int) -> Iterator[tuple[int, int]]:
    for start in range(0, max(chars - STRIDE_CHARS, 1), STRIDE_CHARS):
        yield start, min(start + WINDOW_CHARS, chars)


def _window(whole: str, turns: Sequence[Part], start: int, end: int) -> Joined:
    first = max(bisect_right(turns, start, key=_place) - 1, 0)
    inside = (
        Part(t.index, max(start - t.at, 0), max(t.at - start, 0), min(t.at + t.chars, end) - max(t.at, start))
        for t in turns[first : bisect_left(turns, end, key=_place)]
    )
    return Joined(Passage(whole[start:end]), tuple(p for p in inside if p.chars > 0))


def _place(turn: Part) -> int:
    return turn.at
