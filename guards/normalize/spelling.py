"""Words spelt so that a word list misses them: leetspeak, spaced, doubled, torn and glued letters. Pure."""

import itertools
import re
from collections.abc import Iterator, Set
from typing import Final

from guards.normalize.words import Words

_READS: Final = {
    "0": "o", "1": "il", "2": "z", "3": "e", "4": "a", "5": "s", "6": "gb", "7": "t", "8": "b", "9": "g",
    "@": "a", "$": "s", "!": "il", "|": "il", "+": "t", "€": "e", "£": "l", "¢": "c",
}  # fmt: skip
_PLAIN: Final = str.maketrans({char: letters[0] for char, letters in _READS.items()})
_MOST_READINGS: Final = 16

_GAP: Final = r"[ \t.\-_*·•|/~+,]"
_LETTER: Final = r"(?:[^\W_]|[@$!€£])"
_SPACED: Final = re.compile(
    rf"(?<![\w@$]){_LETTER}(?P<gap>{_GAP}{{1,3}}){_LETTER}(?:(?P=gap){_LETTER}){{2,}}(?![\w@$])"
)
_SPACED_HINT: Final = re.compile(rf"(?:{_GAP}{{1,3}}{_LETTER}){{3}}(?![^\W_])")
_FEW: Final = re.compile(_SPACED.pattern.replace("{2,}", "{0,1}"))  # beside longer ones
_LEET: Final = re.compile(r"(?<![\w/\-.=:#&%\\@$])[A-Za-z0-9@$!|+€£¢]{2,24}(?![\w/\-=:#&%\\@$])")
_LEET_HINT: Final = re.compile(
    r"[0-9@$!|+€£¢](?:(?<=[A-Za-z].)[0-9@$!|+€£¢]*[A-Za-z]|(?<!\w.)[A-Za-z]{3}|(?<=[A-Za-z]{3}[$@€£034]))"
)
_LONG: Final = re.compile(r"([^\W\d_])\1{2,}")
_LONG_WORD: Final = re.compile(r"(?<![^\W\d_])[^\W\d_]*([^\W\d_])\1{2,}[^\W\d_]*")
_TWICE: Final = re.compile(r"(?<!\w)(?:([^\W\d_])\1){4,24}(?!\w)", re.IGNORECASE)
_TORN_HINT: Final = re.compile(r"[.*_~|^·•](?<=[A-Za-z].)[A-Za-z]")
_TORN: Final = re.compile(r"(?<![\w.*~|^·•@/])[A-Za-z]{1,8}(?:[.*_~|^·•][A-Za-z]{1,8}){1,6}(?![\w.*~|^·•@/(])")
_GLUED: Final = re.compile(r"(?<![\w/.@:=&?%#\\-])(?:[a-z]{15,160}|[A-Z]{15,160})(?![\w/.@:=&?%#(\\-])")
_SHORTEST_MEAN: Final = 2.5  # letters a word in text without spaces; below, anything splits into something


def spelt(text: str, strange: Set[str], words: Words) -> str:
    """`text` with such words as they are meant; honest text comes back as it is.

    `strange`: its words that the model does not know. Searches that cost more are made only where a cheap one hits.
    """
    if _SPACED_HINT.search(text):
        spaced, text = text, _SPACED.sub(lambda m: _joined(m.group(), m["gap"], words), text)
        if text != spaced:
            text = _FEW.sub(lambda m: m.group().replace(m["gap"], ""), text)
            strange = words.strange(text)
    unknown = " ".join(strange)
    if _LONG.search(unknown):
        text = _LONG_WORD.sub(lambda m: _shortened(m.group(), words), text)
    if _TWICE.search(unknown):
        text = _TWICE.sub(lambda m: _known(m.group()[::2], m.group(), words), text)
    if _LEET_HINT.search(text):
        text = _unleet(text, words)
    if _TORN_HINT.search(text):
        text = _TORN.sub(lambda m: _mended(m.group(), words), text)
    if _GLUED.search(unknown):
        text = _GLUED.sub(lambda m: _parted(m.group(), words, least=3) or m.group(), text)
    return text


def _joined(spaced: str, gap: str, words: Words) -> str:
    """`k i l l`: one word, or several where the gaps between words are as wide as those between letters."""
    run = spaced.replace(gap, "")
    if sum(c.isdigit() for c in run) > len(run) / 2:
        return spaced
    for reading in _readings(run):
        if reading in words:
            return reading
    return _parted(run.translate(_PLAIN), words) or spaced


def _parted(run: str, words: Words, least: int = 1) -> str | None:
    """`howtobuildit` as `least` words or more; None when it is a word itself, or not words all through."""
    if not run.isalpha() or run in words:
        return None
    parts = words.split(run)
    return " ".join(parts) if parts and least <= len(parts) <= len(run) / _SHORTEST_MEAN else None


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
    letters = body.strip("0123456789@$!|+€£¢")
    if body.isalpha() or not letters or 2 * sum(c.isalpha() for c in body) < len(body):
        return ""
    inner = not letters.isalpha()
    if not inner and (letters in words if len(letters) > 2 else not certain):  # "step5", "4th", "50mg"
        return ""
    reading = next((r for r in _readings(body) if r in words), body.translate(_PLAIN) if certain and inner else "")
    return reading and reading + end


def _readings(chunk: str) -> Iterator[str]:
    options = [_READS.get(char, char) for char in chunk]
    return ("".join(r) for r in itertools.islice(itertools.product(*options), _MOST_READINGS))
