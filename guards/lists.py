"""Keyword and regex guards: what an operator lists, found with its characters, whatever the case, accents or spacing.

Keywords are found all at once (Aho and Corasick 1975, pyahocorasick); patterns by RE2, in time linear in the text, so
that no pattern can hang a lane.
"""

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import ahocorasick
import re2
from pydantic import Field, model_validator

from guards.document import Strict
from guards.guard import GuardError
from guards.taxonomy import NAME
from guards.transport import SURROGATES
from guards.verdict import Languages, Passage, Scores, Span, Stage

LOOKBACK_CHARS: Final = 512  # before `since`, or twice the longest entry
MOST_CHARS: Final = 4096  # the longest lookahead that a policy may have
MOST_WORD: Final = 64
UNSPACED: Final = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u9fff\uac00-\ud7af]")
_SILENT: Final = frozenset({"Mn", "Me", "Cf"})  # accents, and what cannot be seen

Found = tuple[int, int, str, float]  # from, to, category, score
CategoryName = Annotated[str, Field(pattern=NAME)]
Probability = Annotated[float, Field(gt=0, le=1, description="probability of the category when an entry is found")]


class KeywordsSpec(Strict):
    """Words and phrases, found whatever their case, accents, width or spacing."""

    kind: Literal["keywords"] = "keywords"
    lists: dict[CategoryName, tuple[str, ...] | Path] = Field(
        min_length=1, description="category: entries, or a file with one a line (a line that begins with # is none)"
    )
    whole_words: bool = Field(
        True, description="`ass` is not found in `class`; scripts without spaces are not held to it"
    )
    score: Probability = 1.0


class Pattern(Strict):
    """One regular expression, in RE2's syntax: no look-around, no back-references."""

    category: CategoryName
    pattern: str = Field(min_length=1, description="RE2; `(?i)` ignores case")
    score: Probability = 1.0
    longest_chars: int | None = Field(
        None, ge=1, description="characters after which a match has been recognised; worked out where it is bounded"
    )

    @model_validator(mode="after")
    def _usable(self) -> "Pattern":
        try:
            compiled = re2.compile(self.pattern, _quiet())
        except re2.error as error:
            raise ValueError(f"RE2 does not take it: {_said(error)} (no look-around, no back-references)") from error
        if compiled.search(""):
            raise ValueError("it matches the empty text, and so every text")
        if self.longest_chars is None and _longest(self.pattern) is None:
            raise ValueError("its matches have no longest length: bound it as in \\d{1,9}, or say longest_chars")
        return self

    @property
    def reach_chars(self) -> int:
        return self.longest_chars or _longest(self.pattern) or 0

    @property
    def looks_ahead(self) -> bool:
        """Whether the character behind a match decides it."""
        return self.pattern.endswith((r"\b", r"\B", "$", r"\z"))


class RegexSpec(Strict):
    """Regular expressions, each with its category."""

    kind: Literal["regex"] = "regex"
    patterns: tuple[Pattern, ...] = Field(min_length=1)


class _ListGuard:
    """What keyword and regex guards share. A match that ends before `since` is left out.

    A match at the end of a text that is still growing is told only if no further character can undo it.
    """

    version = "1"
    most_chars: int | None = None  # linear, and quick
    languages: Languages | None = None  # characters are characters

    def __init__(self, name: str, categories: Iterable[str], reach_chars: int, identity: object) -> None:
        self.name, self.reach_chars = name, reach_chars
        self._clean = dict.fromkeys(sorted(categories), 0.0)
        libraries = [f"{library}=={version(library)}" for library in ("google-re2", "pyahocorasick")]
        body = Path(__file__).read_bytes() + repr((identity, libraries)).encode()
        self.digest = hashlib.sha256(body).hexdigest()

    def covers(self, stage: Stage) -> frozenset[str]:
        """All of its categories at both stages."""
        return frozenset(self._clean)

    def judge(self, passages: Sequence[Passage]) -> list[Scores]:
        return [self._scores(p) for p in passages]

    def _scores(self, passage: Passage) -> Scores:
        found = sorted({m for m in self._find(passage) if m[1] > passage.since})
        scores = dict(self._clean)
        for _, _, category, score in found:
            scores[category] = max(scores[category], score)
        return Scores(scores, tuple(Span(start, end, category) for start, end, category, _ in found))

    def _find(self, passage: Passage) -> Iterator[Found]:
        raise NotImplementedError

    def _begin(self, passage: Passage) -> int:
        return max(0, passage.since - max(LOOKBACK_CHARS, 2 * self.reach_chars))


class KeywordGuard(_ListGuard):
    """`Guard` over lists of words and phrases. `folder` is where files of the spec are.

    Raises:
        GuardError: a file cannot be read, or an entry is empty once folded.
    """

    def __init__(self, name: str, spec: KeywordsSpec, folder: Path = Path()) -> None:
        self._automaton = ahocorasick.Automaton()
        self._score, self._whole_words = spec.score, spec.whole_words
        listed: dict[str, set[str]] = {}  # folded entry -> its categories
        for category, entry in _entries(spec.lists, folder):
            listed.setdefault(_entry(entry, category), set()).add(category)
        for word, categories in listed.items():
            self._automaton.add_word(word, (len(word), tuple(sorted(categories))))
        self._automaton.make_automaton()
        identity = spec.model_dump(exclude={"lists"}), sorted((w, sorted(c)) for w, c in listed.items())
        super().__init__(name, spec.lists, max(map(len, listed)) + spec.whole_words, identity)

    def _find(self, passage: Passage) -> Iterator[Found]:
        begin = self._begin(passage)
        folded, places = fold(passage.text[begin:])
        for last, (length, categories) in self._automaton.iter(folded):
            start, end = last + 1 - length, last + 1
            if self._whole_words and not self._whole(folded, start, end, passage.growing):
                continue
            for category in categories:
                yield begin + places[start], begin + places[end], category, self._score

    @staticmethod
    def _whole(text: str, start: int, end: int, growing: bool) -> bool:
        open_end = growing and end == len(text) and _in_word(text[end - 1])
        return not (
            open_end or _glued(text[start - 1 : start], text[start]) or _glued(text[end - 1], text[end : end + 1])
        )


class RegexGuard(_ListGuard):
    """`Guard` over regular expressions."""

    def __init__(self, name: str, spec: RegexSpec) -> None:
        self._compiled = [(p, re2.compile(p.pattern, _quiet())) for p in spec.patterns]
        reach_chars = max(p.reach_chars + p.looks_ahead for p in spec.patterns)
        super().__init__(name, {p.category for p in spec.patterns}, reach_chars, spec.model_dump())

    def _find(self, passage: Passage) -> Iterator[Found]:
        text, begin = passage.text.translate(SURROGATES), self._begin(passage)
        for pattern, compiled in self._compiled:
            for found in compiled.finditer(text, begin):
                undecided = passage.growing and pattern.looks_ahead and found.end() == len(text)
                if not undecided and found.end() > found.start():
                    yield found.start(), found.end(), pattern.category, pattern.score


def fold(text: str) -> tuple[str, Sequence[int]]:
    """`text` without case, accents, width and what cannot be seen, every stretch of space one space.

    The second value gives for each folded character, and for the end, its place in `text`: a match's place ends where
    the next character begins, so that accents and invisible characters go with what they belong to.
    """
    if text.isascii() and not _GAPS.search(text):
        return text.lower(), range(len(text) + 1)
    pieces: list[str] = []
    places: list[int] = []
    space = False
    for place, char in enumerate(text):
        piece = _FOLDED[char]
        if piece == " " and space:
            continue
        if piece:
            space = piece == " "
            pieces.append(piece)
            places.extend(itertools.repeat(place, len(piece)))
    return "".join(pieces), [*places, len(text)]


_GAPS: Final = re.compile(r"[\t-\r\x1c-\x1f]|  ")


class _Folding(dict[str, str]):
    """Character -> what is compared. Filled as characters are met."""

    def __missing__(self, char: str) -> str:
        if char.isspace():
            folded = " "
        else:
            plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", char).casefold())
            folded = "".join(c for c in plain if unicodedata.category(c) not in _SILENT)
        self[char] = folded
        return folded


_FOLDED: Final = _Folding()


def whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    """`[start, end)` grown so that it cuts no word in two, by at most `MOST_WORD` characters at either side."""
    first, last = max(0, start - MOST_WORD), min(len(text), end + MOST_WORD)
    while start > first and _glued(text[start - 1], text[start]):
        start -= 1
    while 0 < end < last and _glued(text[end - 1], text[end]):
        end += 1
    return start, end


def _glued(left: str, right: str) -> bool:
    """Whether two neighbouring characters belong to one word."""
    return _in_word(left) and _in_word(right)


def _in_word(char: str) -> bool:
    return bool(char) and (char.isalnum() or char == "_") and not UNSPACED.match(char)


def _entries(lists: Mapping[str, tuple[str, ...] | Path], folder: Path) -> Iterator[tuple[str, str]]:
    for category, listed in lists.items():
        entries = _lines(folder / listed) if isinstance(listed, Path) else listed
        if not entries:
            raise GuardError(f"the list of {category} has no entry")
        yield from ((category, entry) for entry in entries)


def _lines(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise GuardError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return tuple(line for line in lines if line.strip() and not line.startswith("#"))


def _entry(entry: str, category: str) -> str:
    folded = fold(entry)[0].strip()
    if not folded:
        raise GuardError(f"an entry of {category} has no character that can be compared: {entry!r}")
    return folded


def _quiet() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options


def _said(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)


def _longest(pattern: str) -> int | None:
    """Characters of the longest match; None where there is no bound, or Python does not read the pattern."""
    try:
        longest: int = re._parser.parse(pattern).getwidth()[1]  # type: ignore[attr-defined]
    except re.error:
        return None
    return longest if longest <= MOST_CHARS else None
