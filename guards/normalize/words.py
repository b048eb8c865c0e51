"""The words a guard's model knows: a disguise is what turns into them when it is taken off. Pure."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Final

WORD: Final = re.compile(r"[^\W\d_]{3,}")  # shorter ones are in any vocabulary
_ASCII_WORD: Final = re.compile("[a-z]{3,}")  # twice as fast
_STRANGE: Final = 16.0  # what an unknown word costs among known ones, beside its letters; known ones cost at most 11
_KNOWN_SHARE: Final = 0.75
_COMMON: Final = 250  # of the first so many there are some in every sentence
_LONGEST: Final = 20
_SHORT: Final = (
    " a i am an as at be by do go he if in is it me my no of on or so to up us we "  # in text without spaces
)
_STARTS: Final = ("Ġ", "▁")  # how vocabularies of subwords mark the beginning of a word


class Words:
    """Words by how common they are. `vocabulary`: tokens of a model and their ids, the common ones first."""

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        whole = _whole_words(vocabulary)
        ranked = sorted((w for w in whole if w.isalpha() and (len(w) > 1 or w in "ai")), key=whole.__getitem__)
        self._cost = {word: math.log(rank + 2) for rank, word in enumerate(ranked)}

    def __contains__(self, word: str) -> bool:
        return word.lower() in self._cost

    def strange(self, text: str) -> set[str]:
        """The words of three letters or more in a text that the model does not know, in lower case."""
        found = set((_ASCII_WORD if text.isascii() else WORD).findall(text.lower()))
        return {w for w in found if w not in self._cost}

    def known(self, text: str) -> set[str]:
        """The words of three letters or more in a text that the model knows."""
        return {w for w in set(WORD.findall(text.lower())) if w in self._cost}

    def readable(self, text: str, share: float = 0.0) -> bool:
        """Whether a text holds words the model knows, at least `share` of its words of three letters or more."""
        words = WORD.findall(text.lower())
        known = sum(w in self._cost for w in words)
        return known > 0 and known >= share * len(words)

    def likeliest(self, readings: Iterable[str]) -> str:
        """The commonest known word of several readings; empty when none is known."""
        return min((r for r in readings if r in self), key=lambda r: self._cost[r.lower()], default="")

    def common(self, word: str) -> bool:
        return self._cost.get(word.lower(), math.inf) < math.log(_COMMON)

    def split(self, run: str) -> list[str] | None:
        """Letters written without spaces as the likeliest words; None when too few of them are in known words."""
        lowered = run.lower()
        best: list[tuple[float, int]] = [(0.0, 0)]  # cost of the letters so far, where the last word began
        for end in range(1, len(lowered) + 1):
            starts = range(max(0, end - _LONGEST), end)
            best.append(min((best[s][0] + self._price(lowered[s:end]), s) for s in starts))
        words, end = list[str](), len(run)
        while end:
            start = best[end][1]
            words.append(run[start:end])
            end = start
        known = sum(len(w) for w in words if self._price(w.lower()) < _STRANGE)
        return words[::-1] if known >= _KNOWN_SHARE * len(run) else None

    def _price(self, word: str) -> float:
        if len(word) < 3 and f" {word} " not in _SHORT:
            return 2 * _STRANGE
        cost = self._cost.get(word)
        return _STRANGE + 3 * len(word) if cost is None else cost + 1  # for each word: few long ones are likelier


def _whole_words(vocabulary: Mapping[str, int]) -> dict[str, int]:
    """Tokens that can be words by themselves, in lower case. WordPiece marks continuations, others beginnings."""
    if mark := next((m for m in _STARTS if any(t.startswith(m) for t in vocabulary)), ""):
        return _lowest((t.removeprefix(mark).lower(), i) for t, i in vocabulary.items() if t.startswith(mark))
    return _lowest((t.lower(), i) for t, i in vocabulary.items() if not t.startswith("##"))


def _lowest(ranked: Iterable[tuple[str, int]]) -> dict[str, int]:
    lowest: dict[str, int] = {}
    for word, rank in ranked:
        lowest[word] = min(rank, lowest.get(word, rank))
    return lowest
