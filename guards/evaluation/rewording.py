"""The same text in other words, by rule: what keeps the meaning should keep the verdict. Pure.

These are the invariance tests of Ribeiro et al., "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList",
ACL 2020: few and plain, for a rule that changes more also changes what is meant.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import yaml

from guards.verdict import Kind

Rewording = Callable[[str], str]

_WORDS: Final = yaml.safe_load(Path(__file__).with_name("rewording.yaml").read_text(encoding="utf-8"))


def _swapped(table: Mapping[str, str]) -> Rewording:
    """Whole words of the table, a capital first letter kept."""
    known = {word.lower(): other for word, other in table.items()}
    found = re.compile(rf"\b(?:{'|'.join(sorted(map(re.escape, known), key=len, reverse=True))})\b", re.IGNORECASE)

    def other(match: re.Match[str]) -> str:
        said = known[match[0].lower()]
        return said[:1].upper() + said[1:] if match[0][:1].isupper() else said

    return lambda text: found.sub(other, text)


def _turned(table: Mapping[str, str]) -> dict[str, str]:
    return {other: word for word, other in table.items()}


def _typo(text: str) -> str:
    """The longest word with its two middle letters the other way round."""
    words = re.findall(r"[^\W\d_]{5,}", text)
    if not words:
        return text
    word = max(words, key=len)
    half = len(word) // 2
    return text.replace(word, word[: half - 1] + word[half] + word[half - 1] + word[half + 1 :], 1)


REWORDINGS: Final[Mapping[str, Rewording]] = MappingProxyType(
    {
        "contracted": _swapped(_WORDS["short"]),
        "expanded": _swapped(_turned(_WORDS["short"])),
        "synonyms": _swapped(_WORDS["synonyms"]),
        "spelling": _swapped(_WORDS["spelling"] | _turned(_WORDS["spelling"])),
        "lower_case": str.lower,
        "no_punctuation": lambda text: re.sub(r"[.,;:!?]+(?=\s|$)", "", text),
        "typo": _typo,
    }
)
# around a request; an answer is not asked for
FRAMES: Final[Mapping[str, Rewording]] = MappingProxyType(
    {
        "question": "I have a question. {}".format,
        "polite": "Could you help me with this, please? {}".format,
        "thanks": "{} Thank you in advance!".format,
    }
)


def reworded(text: str, kind: Kind) -> dict[str, str]:
    """A text of a kind in other words, by the name of each rewording that finds something to change."""
    known = REWORDINGS if kind == "response" else {**REWORDINGS, **FRAMES}
    return {name: other for name, change in known.items() if (other := change(text)) != text}
