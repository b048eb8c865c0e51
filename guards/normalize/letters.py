"""Letters that look or sound like others, and characters that cannot be seen. Pure.

What looks alike is Unicode's list of confusables (`confusable_homoglyphs`); what sounds alike and what a styled letter
stands for is `anyascii`. Honest accents and honest text in other scripts are left alone.
"""

import itertools
import re
import unicodedata
from typing import Final

from anyascii import anyascii
from confusable_homoglyphs.confusables import confusables_data

from guards.normalize.words import Words

# Alphabets whose letters stand in for Latin ones, by look or by sound: Greek, Cyrillic, Armenian, Georgian, Cherokee,
# Coptic, Lisu. A word of these is honest unless it is mixed with Latin, or reads as words that the model knows.
_OTHER: Final = (
    "\u0370-\u052f\u0531-\u0587\u10d0-\u10ff\u13a0-\u13ff\u1f00-\u1fff\u2c80-\u2cff\ua4d0-\ua4fd\uab70-\uabbf"
)
_OTHERS: Final = re.compile(f"[{_OTHER}]")
_OTHER_WORD: Final = re.compile(f"(?<![A-Za-z{_OTHER}])[A-Za-z]*[{_OTHER}][A-Za-z{_OTHER}]*")
_LATIN: Final = re.compile("[A-Za-z]")
_LOOKS: Final = {"ĸ": "k"}
_SOUNDS: Final = {"х": "h", "Х": "H", "χ": "h", "в": "v", "ц": "ts", "й": "y", "ю": "yu", "я": "ya"}
_SAME_SOUND: Final = {"k": "kc", "v": "vw", "K": "KC", "V": "VW"}
_MOST_READINGS: Final = 16
_INVISIBLE: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u20e3\u3164\uffa0")
_TAGS: Final = range(0xE0020, 0xE007F)


class _Styled(dict[int, str | None]):
    """Character -> the plain letters that a styled one (full width, circled, small capital, ...) stands for."""

    def __missing__(self, code: int) -> str | None:
        self[code] = plain = self._plain(chr(code))
        return plain

    @staticmethod
    def _plain(char: str) -> str | None:
        code, kind = ord(char), unicodedata.category(char)
        if code in _TAGS:
            return chr(code - 0xE0000)
        if kind == "Cf" or char in _INVISIBLE or 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF:
            return None
        if kind == "Zs":
            return " "
        name = unicodedata.name(char, "")
        plain = anyascii(char) if kind[0] in "LNS" and _STYLED.search(name) else ""
        return plain if plain.isalnum() and plain.isascii() and len(plain) <= 3 else char


_STYLED: Final = re.compile(
    r"MATHEMATICAL|FULLWIDTH|CIRCLED|PARENTHESIZED|SQUARED|REGIONAL|SMALL CAPITAL|MODIFIER LETTER|SUPERSCRIPT|SUBSCRIPT"
    r"|SCRIPT|DOUBLE-STRUCK|BLACK-LETTER|ROMAN NUMERAL|TURNED|REVERSED|LATIN SMALL LETTER (?:ALPHA|IOTA|OPEN|DOTLESS)"
)


class _Table(dict[int, str]):
    """Character of another alphabet -> Latin letters, by look or by sound. Filled as characters are met."""

    def __init__(self, looks: bool) -> None:
        self._looks = looks

    def __missing__(self, code: int) -> str:
        char = chr(code)
        other = _OTHERS.match(char)
        self[code] = plain = (self._look(char) if self._looks else self._sound(char)) if other else char
        return plain

    def _look(self, char: str) -> str:
        seen = next((str(c["c"]) for c in confusables_data.get(char, ())), char)
        seen = _LOOKS.get(seen, seen)
        return seen if seen.isascii() else anyascii(seen)

    @staticmethod
    def _sound(char: str) -> str:
        return _SOUNDS.get(char) or anyascii(char)


_STYLES: Final = _Styled()
_LOOK: Final = _Table(looks=True)
_SOUND: Final = _Table(looks=False)


def plain(text: str) -> str:
    """`text` without characters that cannot be seen, styled letters made plain; accents and alphabets stay."""
    return text if text.isascii() else text.translate(_STYLES)


def latin(text: str, words: Words) -> str:
    """`text` with words of other alphabets as Latin ones, where they are mixed with Latin or read as known words."""
    if text.isascii() or not _OTHERS.search(text):
        return text
    return "\n".join(_line(line, words) for line in text.split("\n"))


def _line(line: str, words: Words) -> str:
    if len(_OTHERS.findall(line)) <= 3 * len(_LATIN.findall(line)):
        return _OTHER_WORD.sub(lambda m: _word(m.group(), words), line)
    spoken = _OTHER_WORD.sub(lambda m: _spoken(m.group(), words), line)
    if len(words.known(spoken)) >= 2 and words.readable(spoken, share=0.5):
        return spoken  # English in another alphabet
    return _OTHER_WORD.sub(lambda m: _word(m.group(), words) if _LATIN.search(m.group()) else m.group(), line)


def _spoken(word: str, words: Words) -> str:
    """By sound: the letters for k, v and ks stand for c, w and x too."""
    plain = word.translate(_SOUND).replace("ks", "x")
    options = [_SAME_SOUND.get(c, c) for c in plain]
    readings = map("".join, itertools.islice(itertools.product(*options), _MOST_READINGS))
    return words.likeliest(readings) or plain


def _word(word: str, words: Words) -> str:
    """By look or by sound, whichever the model knows; a word of both alphabets is never left as it is."""
    readings = (word.translate(_LOOK), word.translate(_SOUND))
    mixed = len(word) < 3 or _LATIN.search(word)
    return next((r for r in readings if r in words), readings[0] if mixed else word)
