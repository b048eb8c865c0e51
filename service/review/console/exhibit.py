"""The parts of an item as far as they are open to a reviewer, chunk by chunk."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.review.parts import CHUNK, Part
from service.review.pieces import Piece, personal, pieces

MOST_OPEN = 25  # stretches of a part that a page begins with, however many were opened before
OPENS = frozenset({"view", "reveal", "personal_data"})  # a peek ends by itself


@dataclass(frozen=True, slots=True)
class Stretch:
    """Characters from `start` on that are all `asked`, `released` or `withheld`."""

    state: str
    start: int
    pieces: list[Piece]


@dataclass(frozen=True, slots=True)
class Chunk:
    number: int
    chars: int
    stretches: list[Stretch]

    @property
    def redacted(self) -> bool:
        return any(p.kind == "redacted" for s in self.stretches for p in s.pieces)


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A part with what is open of it. `next`: the chunk that is shown next; None when all is open."""

    part: Part
    chunks: list[Chunk]
    covered: bool

    @property
    def id(self) -> str:
        return "part-" + self.part.name.replace("/", "-")

    @property
    def next(self) -> int | None:
        return self._after if self._after < self.part.chunks else None

    @property
    def redacted(self) -> bool:
        return any(c.redacted for c in self.chunks)

    @property
    def left(self) -> int:
        """Characters that are not open."""
        return len(self.part.text) - min(self._after * CHUNK, len(self.part.text))

    @property
    def _after(self) -> int:
        return self.chunks[-1].number + 1 if self.chunks else 0


def exhibit(part: Part, covered: bool, shown: Mapping[str, set[str]]) -> Exhibit:
    """`shown`: what was shown already, `part@chunk` -> actions. What is judged and not covered is open at first."""
    chunks: list[Chunk] = []
    for number in range(min(part.chunks, MOST_OPEN)):
        actions = shown.get(place(part.name, number), set())
        if not (actions & OPENS or (number == 0 and part.judged and not covered)):
            break
        chunks.append(chunk(part, number, "personal_data" not in actions))
    return Exhibit(part, chunks, covered)


def chunk(part: Part, number: int, redacted: bool = True) -> Chunk:
    start, end = number * CHUNK, min((number + 1) * CHUNK, len(part.text))
    hidden = personal(part.text, start, end) if redacted else []
    if part.released is None:
        cuts = [("asked", start, end)]
    else:
        cut = min(max(part.released, start), end)
        cuts = [("released", start, cut), ("withheld", cut, end)]
    stretches = [Stretch(state, a, pieces(part.text, a, b, hidden)) for state, a, b in cuts if a < b]
    return Chunk(number, end - start, stretches)


def place(name: str, number: int) -> str:
    """As exposures name it."""
    return f"{name}@{number}"
