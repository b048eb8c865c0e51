"""Which texts nearly say the same: Jaccard similarity of their word 4-grams. Pure."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from math import ceil
from typing import Final

GRAM_WORDS: Final = 4
NEAR: Final = 0.5
EPSILON: Final = 1e-9  # .7 x 10 is a little more than 7
_WORD: Final = re.compile(r"\w+")


def grams(text: str) -> frozenset[str]:
    """Runs of four words, case and punctuation aside; a shorter text is one run."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    count = max(1, len(words) - GRAM_WORDS + 1)
    return frozenset(" ".join(words[i : i + GRAM_WORDS]) for i in range(count))


class Seen:
    """Texts seen so far, found again by what is near them."""

    def __init__(self) -> None:
        self._grams: list[frozenset[str]] = []
        self._texts: list[str] = []
        self._holders: dict[str, list[int]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._texts)

    def near(self, text: str, least: float = NEAR) -> str | None:
        """A text seen before whose similarity is at least `least`, or None."""
        own = grams(text)
        for number in {n for gram in own for n in self._holders.get(gram, ())}:
            if len(own & self._grams[number]) >= least * len(own | self._grams[number]):
                return self._texts[number]
        return None

    def add(self, text: str) -> None:
        for gram in (own := grams(text)):
            self._holders[gram].append(len(self._texts))
        self._grams.append(own)
        self._texts.append(text)


class Near:
    """As `Seen`, exact too, for many texts: their rarest runs alone are looked up.

    Two sets whose Jaccard similarity is t or more share one of the first n - ceil(t n) + 1 elements of each, in any one
    order (Bayardo et al., Scaling Up All Pairs Similarity Search, WWW 2007). `texts`: what the order comes from.
    """

    def __init__(self, least: float, texts: Iterable[str]) -> None:
        self._least = least
        self._common = Counter(run for text in texts for run in _runs(text))
        self._added: list[frozenset[int]] = []
        self._holders: dict[int, list[int]] = defaultdict(list)

    def near(self, text: str) -> int | None:
        """The number of the first text added that is near, or None."""
        own = _runs(text)
        for number in sorted({n for run in self._rarest(own) for n in self._holders.get(run, ())}):
            if len(own & self._added[number]) >= self._least * len(own | self._added[number]) - EPSILON:
                return number
        return None

    def add(self, text: str) -> None:
        own = _runs(text)
        for run in self._rarest(own):
            self._holders[run].append(len(self._added))
        self._added.append(own)

    def _rarest(self, own: frozenset[int]) -> list[int]:
        order = sorted(own, key=lambda run: (self._common[run], run))
        return order[: len(own) - ceil(self._least * len(own) - EPSILON) + 1]


def _runs(text: str) -> frozenset[int]:
    return frozenset(map(hash, grams(text)))
