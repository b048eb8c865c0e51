"""Which texts nearly say the same: Jaccard similarity of their word 4-grams. Pure."""

import re
import unicodedata
from collections import defaultdict
from typing import Final

GRAM_WORDS: Final = 4
NEAR: Final = 0.5
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
