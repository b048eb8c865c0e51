"""Text of strangers as pieces that a template prints as text nodes: nothing invisible, nothing that is a link. Pure.

Every piece stands for `plain`, characters of the text as it is stored, so that a selection on the screen has a place
in the text and nothing is lost by showing it.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from guards.patterns import INVISIBLE, PatternGuard
from guards.verdict import Passage, Span

Kind = Literal["text", "chip", "fang", "redacted"]


@dataclass(frozen=True, slots=True)
class Piece:
    """`shown` stands on the screen for `plain`; of what is redacted the screen gets the length alone."""

    kind: Kind
    shown: str
    plain: str

    @property
    def length(self) -> int:
        return len(self.plain)

    @property
    def code(self) -> str:
        """In hex, of a chip's one character."""
        return f"{ord(self.plain):X}"


_UNSEEN: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})
_SEEN: Final = frozenset("\n\t \u00a0\u3000")
_SHORT: Final = {
    "\0": "NUL", "\x07": "BEL", "\b": "BS", "\r": "CR", "\x1b": "ESC", "\x7f": "DEL", "\u00ad": "SHY", "\u034f": "CGJ",
    "\u061c": "ALM", "\u200b": "ZWSP", "\u200c": "ZWNJ", "\u200d": "ZWJ", "\u200e": "LRM", "\u200f": "RLM",
    "\u2028": "LS", "\u2029": "PS", "\u202a": "LRE", "\u202b": "RLE", "\u202c": "PDF", "\u202d": "LRO",
    "\u202e": "RLO", "\u2060": "WJ", "\u2066": "LRI", "\u2067": "RLI", "\u2068": "FSI", "\u2069": "PDI",
    "\ufeff": "BOM",
}  # fmt: skip
_VARIATIONS: Final = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_MOST_MARKS: Final = 3  # on one letter; more climb over the lines around
_SCHEME: Final = re.compile(r"\b(?:https?(?=:)|(?:javascript|vbscript|data|file|blob|mailto|ftp|wss?):(?=\S))", re.I)
_DOT: Final = re.compile(r"(?<=[\w)])\.(?=[^\W\d_]{2,}\b)")
_AROUND: Final = 600  # characters beside a stretch that tell what it is part of
_PERSONAL: Final = PatternGuard()


def personal(text: str, start: int, end: int) -> list[Span]:
    """Personal data and secrets that touch `[start, end)` of the text."""
    begin = max(0, start - _AROUND)
    found = _PERSONAL.judge([Passage(text[begin : end + _AROUND])])[0].spans
    spans = (Span(s.start + begin, s.end + begin, s.category) for s in found)
    return [s for s in spans if s.start < end and s.end > start]


def pieces(text: str, start: int = 0, end: int | None = None, hidden: Sequence[Span] = ()) -> list[Piece]:
    """`text[start:end]`; characters of `hidden` are left out of the page."""
    end = len(text) if end is None else min(end, len(text))
    found: list[Piece] = []
    at = start
    for span in sorted(hidden, key=lambda s: (s.start, -s.end)):
        first, last = max(span.start, at), min(span.end, end)
        if first < last:
            found += _open(text, at, first)
            found.append(Piece("redacted", f"[{span.category}]", text[first:last]))
            at = last
    return found + _open(text, at, end)


def _open(text: str, start: int, end: int) -> list[Piece]:
    """Pieces of `text[start:end]` with what is not what it seems, or leads elsewhere, written out."""
    begin = max(0, start - _AROUND)
    window = text[begin : end + _AROUND]
    fangs = {m.start() + begin: (m.end() + begin, _disarmed(m.group())) for m in _SCHEME.finditer(window)}
    fangs |= {m.start() + begin: (m.end() + begin, "[.]") for m in _DOT.finditer(window)}
    found: list[Piece] = []
    plain: list[str] = []
    for i, piece in _stops(text, start, end, fangs):
        if piece is None:
            plain.append(text[i])
            continue
        if plain:
            found.append(Piece("text", "".join(plain), "".join(plain)))
            plain = []
        found.append(piece)
    return [*found, Piece("text", "".join(plain), "".join(plain))] if plain else found


def _stops(text: str, start: int, end: int, fangs: dict[int, tuple[int, str]]) -> Iterator[tuple[int, Piece | None]]:
    """Each place with the piece that begins there; None for a character that is what it seems."""
    marks, i = 0, start
    while i < end:
        char = text[i]
        marks = marks + 1 if unicodedata.combining(char) else 0
        if i in fangs and fangs[i][0] <= end:
            after, shown = fangs[i]
            yield i, Piece("fang", shown, text[i:after])
            i = after
            continue
        yield i, Piece("chip", label(char), char) if marks > _MOST_MARKS or _unseen(text, i) else None
        i += 1


def _unseen(text: str, i: int) -> bool:
    char = text[i]
    if char in _SEEN:
        return False
    if char in "\ufe0f\u200d" and i and _pictures(text[i - 1]):  # part of an emoji
        return char == "\u200d" and not _pictures(text[i + 1 : i + 2])
    return unicodedata.category(char) in _UNSEEN or char in INVISIBLE or bool(_VARIATIONS.match(char))


def _pictures(char: str) -> bool:
    return bool(char) and (unicodedata.category(char) in ("So", "Sk") or char == "\ufe0f")


def label(char: str) -> str:
    """`[U+202E RLO]`."""
    name = _SHORT.get(char) or unicodedata.name(char, "") or unicodedata.category(char)
    return f"[U+{ord(char):04X} {name}]"


def _disarmed(scheme: str) -> str:
    return f"{scheme[:-1]}[:]" if scheme.endswith(":") else scheme.replace("tt", "xx").replace("TT", "XX")
