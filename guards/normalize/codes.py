"""Text in a code that a model can read: base64, hex, escapes, Morse, rot13, backwards. Pure.

Nothing is decoded but into text, so a picture, a hash or a key stays what it is; decoded text is never decoded again.
"""

import base64
import binascii
import html
import re
import string
from collections.abc import Callable, Iterable, Sequence, Set
from functools import partial
from typing import Final
from urllib.parse import unquote_to_bytes

from guards.normalize.words import WORD, Words

_SHORTEST: Final = 4  # characters of a text worth decoding
_NOT_TEXT: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffd]+")
_SIGNS: Final = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.. "
    "----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----."
)
_MORSE: Final = dict(zip(_SIGNS.split(), string.ascii_lowercase + string.digits, strict=True))

_BASE64: Final = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{12,}={0,2}")
_BASE32: Final = re.compile(r"[A-Z2-7](?<![A-Za-z0-9].)[A-Z2-7]{15,}={0,6}")
_HEX: Final = re.compile(
    r"[2-7](?<![0-9A-Za-z].)[0-9a-fA-F](?:(?:[ :,-]{0,2}0x|[ :,-]{0,2})[2-7][0-9a-fA-F]){5,}+(?![0-9A-Za-z])"
)
_BITS: Final = re.compile(r"[01](?<!\d.)[01]{7}(?:[ ,]{0,2}[01]{8}){3,}+(?!\d)")
_CODES: Final = re.compile(r"[1-9](?<![\d.].)\d{1,2}(?:[ ,]{1,2}(?:3[2-9]|[4-9]\d|1[01]\d|12[0-6])){5,}+(?![\d.])")
_ESCAPES: Final = re.compile(r"(?:\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\u\{[0-9a-fA-F]{1,6}\}|\\[0-3][0-7]{2}){3,}+")
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\}|([0-3][0-7]{2}))")
_PERCENT: Final = re.compile(
    r"(?<!\S)(?=\S*?%(?:[46][1-9a-fA-F]|[57][0-9aA]))\S+"
)  # letters need no such code: somebody hides
_ENTITIES: Final = re.compile(r"(?:&#(?:x[0-9a-fA-F]{2,5}|\d{2,6});){3,}+")
_DOTS: Final = re.compile(r"[.·•_–−-](?<![\w.-].)[.·•_–−-]{0,4}(?:[ /|]{1,3}[.·•_–−-]{1,5}){4,}+(?![\w.-])")
_MIXED: Final = re.compile("[a-z][A-Z]|[0-9]")
_URL_SAFE: Final = str.maketrans("-_", "+/")
_AS_ASCII: Final = str.maketrans("·•_–−", "..---")

_ROT13: Final = str.maketrans(
    string.ascii_letters,
    string.ascii_lowercase[13:]
    + string.ascii_lowercase[:13]
    + string.ascii_uppercase[13:]
    + string.ascii_uppercase[:13],
)
_ATBASH: Final = str.maketrans(string.ascii_letters, string.ascii_lowercase[::-1] + string.ascii_uppercase[::-1])
_LEAST_TURNED: Final = 3  # unknown words that a code must turn into known ones


def decoded(text: str, words: Words) -> str:
    """`text` with every coded run that holds readable text replaced by that text."""
    for hint, run, decode in _CODED:
        if hint in text:
            text = run.sub(partial(_decoded, decode, words), text)
    return text


def _decoded(decode: "Decode", words: Words, run: re.Match[str]) -> str:
    return _text(decode(run.group()), words) or run.group()


def turned(text: str, strange: Set[str], words: Words) -> list[str]:
    """`text` with lines in rot13, Atbash or backwards turned round, in one or two ways; none where no line is.

    `strange`: its words that the model does not know.
    """
    codes = [code for code in (_rot13, _atbash, _backwards) if sum(code(w) in words for w in strange) >= _LEAST_TURNED]
    lines = text.split("\n")
    readings = [_turned_line(line, codes, words) if codes else None for line in lines]
    if not any(readings):
        return []
    return ["\n".join(r[n] if r else line for r, line in zip(readings, lines, strict=True)) for n in (0, 1)]


def _text(pieces: Iterable[bytes], words: Words) -> str:
    """The readable stretches of the first piece that is text for the most part; empty where none is."""
    for piece in pieces:
        whole = piece.replace(b"\0", b"").decode("utf-8", "replace")
        found = " ".join(s for s in _NOT_TEXT.split(whole) if _is_text(s, words))
        if 2 * len(found) > len(whole):
            return found
    return ""


def _is_text(stretch: str, words: Words) -> bool:
    letters = [c for c in stretch if c.isalpha()]
    if len(stretch) < _SHORTEST or len(letters) + sum(map(str.isspace, stretch)) < 0.7 * len(stretch):
        return False
    return words.readable(stretch) or 2 * sum(not c.isascii() for c in letters) > len(letters)


def _base64(run: str) -> Iterable[bytes]:
    """Read from each of four beginnings: a stream may have cut the run, an attacker may have put a letter before it."""
    if not _MIXED.search(run):  # a long word, or several with strokes between them
        return
    body = run.rstrip("=").translate(_URL_SAFE)
    for start in range(4):
        part = body[start:]
        yield binascii.a2b_base64(part[: len(part) - (len(part) % 4 == 1)] + "==")


def _base32(run: str) -> Iterable[bytes]:
    body = run.rstrip("=")
    body = body[: len(body) - (len(body) % 8 in (1, 3, 6))]  # no text is that long
    yield base64.b32decode(body + "=" * (-len(body) % 8))


def _hex(run: str) -> Iterable[bytes]:
    digits = re.sub(r"0x|[^0-9a-fA-F]", "", run)
    yield bytes.fromhex(digits[: len(digits) // 2 * 2])


def _bits(run: str) -> Iterable[bytes]:
    digits = re.sub(r"[^01]", "", run)
    yield bytes(int(digits[i : i + 8], 2) for i in range(0, len(digits) - 7, 8))


def _codes(run: str) -> Iterable[bytes]:
    yield bytes(min(int(n), 255) for n in re.findall(r"\d+", run))


def _escapes(run: str) -> Iterable[bytes]:
    """One byte a `\\x`, else one character, in whatever mixture."""
    points = [(int(m[1] or m[2] or m[3], 16) if not m[4] else int(m[4], 8)) for m in _ESCAPE.finditer(run)]
    if all(p < 256 for p in points):
        yield bytes(points)
    yield "".join(chr(p) for p in points if p < 0x110000).encode("utf-8", "replace")


def _entities(run: str) -> Iterable[bytes]:
    yield html.unescape(run).encode("utf-8", "replace")


def _percent(run: str) -> Iterable[bytes]:
    yield unquote_to_bytes(run.encode("utf-8", "replace"))


def _morse(run: str) -> Iterable[bytes]:
    spelt = run.translate(_AS_ASCII)
    said = (re.split(r"[ |]+", word) for word in re.split(r" *[/|] *| {3,}", spelt))
    yield " ".join("".join(_MORSE.get(sign, "") for sign in word) for word in said).encode()


Decode = Callable[[str], Iterable[bytes]]
_CODED: Final[Sequence[tuple[str, re.Pattern[str], Decode]]] = (  # what it cannot be without, its form, its reading
    ("%", _PERCENT, _percent),
    ("&#", _ENTITIES, _entities),
    ("\\", _ESCAPES, _escapes),
    ("", _BITS, _bits),
    ("", _CODES, _codes),
    ("", _HEX, _hex),
    ("", _BASE32, _base32),
    ("", _BASE64, _base64),
    ("", _DOTS, _morse),
)


def _turned_line(line: str, codes: "Iterable[Code]", words: Words) -> tuple[str, str] | None:
    """Two readings of a line that is in a code, equal but for backwards text: all letters, or each word by itself."""
    strange = [m for m in WORD.finditer(line) if m.group() not in words]
    for code in codes:
        if span := _span([m for m in strange if code(m.group()) in words], strange):
            before, coded, after = line[: span[0]], line[span[0] : span[1]], line[span[1] :]
            each = re.sub(r"[^\W_]+", lambda m, code=code: code(m.group()), coded)  # type: ignore[misc]
            return before + code(coded) + after, before + each + after
    return None


def _rot13(text: str) -> str:
    return text.translate(_ROT13)


def _atbash(text: str) -> str:
    return text.translate(_ATBASH)


def _backwards(text: str) -> str:
    return text[::-1]


Code = Callable[[str], str]


def _span(turned: Sequence[re.Match[str]], strange: Sequence[re.Match[str]]) -> tuple[int, int] | None:
    """From the first to the last word that the code makes a known one, where most strange words between them are."""
    if len(turned) < _LEAST_TURNED:
        return None
    start, end = turned[0].start(), turned[-1].end()
    inside = sum(start <= m.start() and m.end() <= end for m in strange)
    return (start, end) if 2 * len(turned) > inside else None
