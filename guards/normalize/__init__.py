"""What a disguised text says: readings to be judged beside the text as it stands. Pure and total.

Nothing here decides anything: a reading is one more text for a classifier, and the worst score counts. Honest text has
no reading but itself, so it pays for the search alone.
"""

from dataclasses import dataclass
from typing import Final

from guards.normalize.codes import decoded, turned
from guards.normalize.letters import latin, plain
from guards.normalize.spelling import spelt
from guards.normalize.words import Words

__all__ = ["View", "Words", "views"]

CONTEXT_CHARS: Final = 400  # of the text around a disguise that a reading takes with it
MOST_GROWTH: Final = 4  # characters of a reading for each of the text


@dataclass(frozen=True, slots=True)
class View:
    """A reading of a text. Characters from `end` on read as they stand, up to where the reading stops."""

    text: str
    end: int


def views(text: str, words: Words) -> tuple[View, ...]:
    """Readings of a text that is disguised; none, nearly always, for one that is not.

    At most three, none longer than four times the text. A reading has words that the text has not.
    """
    unfolded = decoded(latin(plain(text), words), words)
    strange = words.strange(unfolded)
    turns = turned(unfolded, strange, words)
    read = dict.fromkeys([spelt(unfolded, strange, words), *(spelt(t, words.strange(t), words) for t in turns)])
    return tuple(_excerpt(text, r) for r in read if r != text and words.known(r) - words.known(text))


def _excerpt(text: str, reading: str) -> View:
    """A reading from a little before its first difference to a little after its last."""
    reading = reading[: MOST_GROWTH * len(text)]
    first = _same(text, reading)
    last = _same(text[: first - 1 if first else None : -1], reading[: first - 1 if first else None : -1])
    stop = len(reading) - max(last - CONTEXT_CHARS, 0)
    return View(reading[max(first - CONTEXT_CHARS, 0) : stop], len(text) - last)


def _same(one: str, other: str) -> int:
    """How many characters two texts have in common from their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low
