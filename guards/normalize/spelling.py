"""Words spelt so that a word list misses them: leetspeak, spaced, doubled, torn and glued letters. Pure."""

import itertools
import re
from collections.abc import Iterator, Set
from functools import lru_cache
from typing import Final

from guards.normalize.words import Words

_READS: Final = {
    "0": "o", "1": "il", "2": "z", "3": "e", "4": "a", "5": "s", "6": "gb", "7": "t", "8": "b", "9": "g",
    "@": "a", "$": "s", "!": "il", "|": "il", "+": "t", "€": "e", "£": "l", "¢": "c",
}  # fmt: skip
_LEET_SIGNS: Final = "".join(_READS)
_PLAIN: Final = str.maketrans({char: letters[0] for char, letters in _READS.items()})
_MOST_READINGS: Final = 16

_GAP: Final = r"[ \t.\-_*·•|/~+,]"
_LETTER: Final = r"(?:[^\W_]|[@$!€£])"
_SPACED: Final = re.compile(
    rf"(?<![\w@$]){_LETTER}(?P<gap>{_GAP}{{1,3}}){_LETTER}(?:(?P=gap){_LETTER}){{2,}}(?![\w@$])"
)
_SPACED_HINT: Final = re.compile(rf"(?:{_GAP}{{1,3}}{_LETTER}){{3}}(?![^\W_])")
_LEET: Final = re.compile(r"(?<![\w/\-.=:#&%\\@$])[A-Za-z0-9@$!|+€£¢]{2,24}(?![\w/\-=:#&%\\@$])")
_LEET_HINT: Final = re.compile(
    r"[0-9@$!|+€£¢](?:(?<=[A-Za-z].)[0-9@$!|+€£¢]*[A-Za-z]|(?<!\w.)[A-Za-z]{3}|(?<=[A-Za-z]{3}[$@€£034]))"
)
_LONG: Final = re.compile(r"([^\W\d_])\1{2,}")
_LONG_WORD: Final = re.compile(r"(?<![^\W\d_])[^\W\d_]*([^\W\d_])\1{2,}[^\W\d_]*")
_TWICE: Final = re.compile(r"(?<!\w)(?:([^\W\d_])\1){4,24}(?!\w)", re.IGNORECASE)
_TORN_HINT: Final = re.compile(r"[.*_~|^·•](?<=[A-Za-z].)[A-Za-z]")
_TORN: Final = re.compile(r"(?<![\w.*~|^·•@/])[A-Za-z]{1,8}(?:[.*_~|^·•][A-Za-z]{1,8}){1,6}(?![\w.*~|^·•@/(])")
_GLUED: Final = re.compile(r"(?<![\w/.@:=&?%#\\-])[A-Za-z]{15,}+(?![\w/@:=&%#(\\-]|[.?]\w)")
_SHORTEST_MEAN: Final = 2.5  # letters a word in text without spaces; below, anything splits into something


def spelt(text: str, strange: Set[str], words: Words) -> str:
    """`text` with such words as they are meant; honest text comes back as it is.

    `strange`: its words that the model does not know. Searches that cost more are made only where a cheap one hits.
    """
    if _SPACED_HINT.search(text) and (joined := _joined(text, words)) != text:
        text, strange = joined, words.strange(joined)
    unknown = " ".join(strange)
    if _LONG.search(unknown):
        text = _LONG_WORD.sub(lambda m: _shortened(m.group(), words), text)
    if _TWICE.search(unknown):
        text = _TWICE.sub(lambda m: _known(m.group()[::2], m.group(), words), text)
    if _LEET_HINT.search(text):
        text = _unleet(text, words)
    if _TORN_HINT.search(text):
        text = _TORN.sub(lambda m: _mended(m.group(), words), text)
    if len(max(strange, key=len, default="")) >= 15:
        text = _GLUED.sub(lambda m: _unglued(m.group(), words), text)
    return text


def _joined(text: str, words: Words) -> str:
    """`k i l l` as one word, or several where the gaps between words are as wide as those between letters.

    Where one run of four letters is a word or words, shorter ones with such gaps are runs too.
    """
    for gap in {m["gap"] for m in _SPACED.finditer(text) if _run(m.group(), m["gap"], words)}:
        text = _runs(gap).sub(lambda m, gap=gap: _run(m.group(), gap, words) or m.group().replace(gap, ""), text)  # type: ignore[misc]
    return text


@lru_cache(maxsize=64)
def _runs(gap: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w@$]){_LETTER}(?:{re.escape(gap)}{_LETTER})+(?![\w@$])")


def _run(spaced: str, gap: str, words: Words) -> str:
    """The word or words that spaced letters are; empty when they are none."""
    run = spaced.replace(gap, "")
    if sum(c.isdigit() for c in run) > len(run) / 2:
        return ""
    return words.likeliest(_readings(run)) or _parted(run.translate(_PLAIN), words)


def _parted(run: str, words: Words) -> str:
    """Letters without spaces as the words they are; empty where they are none."""
    parts = words.split(run) if run.isalpha() else None
    return " ".join(parts) if parts and _SHORTEST_MEAN * len(parts) <= len(run) else ""


def _unglued(run: str, words: Words) -> str:
    capitals = sum(map(str.isupper, run))
    if len(run) / 12 < capitals < len(run):  # a name in a program: addEventListener
        return run
    parts = words.split(run) or []
    sentence = len(parts) >= 4 and sum(map(words.common, parts)) >= 2 and _SHORTEST_MEAN * len(parts) <= len(run)
    return " ".join(parts) if sentence else run  # a long word of an honest text falls apart, but into no sentence


def _shortened(word: str, words: Words) -> str:
    """`killll`: a letter three times or more stands for one or two."""
    for times in (r"\1", r"\1\1"):
        if len(short := _LONG.sub(times, word)) >= 4 and short in words:
            return short
    return word


def _mended(torn: str, words: Words) -> str:
    """`bo.mb` where that is a word and its parts are not."""
    parts = re.split(r"[^A-Za-z]", torn)
    return torn if all(len(p) >= 3 and p in words for p in parts) else _known("".join(parts), torn, words)


def _known(reading: str, else_: str, words: Words) -> str:
    return reading if len(reading) >= 4 and reading in words else else_


def _unleet(text: str, words: Words) -> str:
    """Digits and signs as letters, once one word of four letters or two of three can be nothing else."""
    sizes = [len(r) for m in _LEET.finditer(text) if (r := _leet(m.group(), words)) in words]
    if max(sizes, default=0) < 4 and sizes.count(3) < 2:
        return text
    return _LEET.sub(lambda m: _leet(m.group(), words, certain=True) or m.group(), text)


def _leet(chunk: str, words: Words, certain: bool = False) -> str:
    """What a chunk of letters, digits and signs reads as; empty for one that is honest as it stands.

    `certain`: the text around is in leetspeak, so short words and unknown ones are too.
    """
    body, end = chunk.rstrip("!|+"), chunk[len(chunk.rstrip("!|+")) :]
    letters, inside = sum(c.isalpha() for c in body), body.strip(_LEET_SIGNS)
    inner = bool(inside) and not inside.isalpha()
    if letters == len(body) or not (letters or (certain and len(body) == 2)):
        return ""
    if not inner and (inside in words if len(inside) > 2 else not certain):  # "step5", "4th", "50mg"
        return ""
    known = words.likeliest(_readings(body)) if certain or 3 * letters >= len(body) else ""
    reading = known or (body.translate(_PLAIN) if certain and inner and 3 * letters >= len(body) else "")
    return reading and reading + end


def _readings(chunk: str) -> Iterator[str]:
    options = [_READS.get(char, char) for char in chunk]
    return ("".join(r) for r in itertools.islice(itertools.product(*options), _MOST_READINGS))
