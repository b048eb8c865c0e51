"""Which language a text is in, and whether guards were measured in it: what a guard never read, it misses."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from operator import itemgetter
from typing import Final

from guards.guard import Guard, Measured
from guards.verdict import Languages, Passage, Scores, Stage

LANGUAGE: Final = "language"  # the guard's name; its categories are language:en, language:de, ...
HOME: Final = "en"  # what guards are built and calibrated in, unless they say otherwise
ONLY_HOME: Final[Languages] = {HOME: {}}
NO_LANGUAGE: Final = "zxx"  # ISO 639-2 for numbers, code, markup
CERTAIN: Final = 0.8  # of the detector's probability; below it a text is in no known language, and that is no finding
MACRO: Final = {  # ISO 639-3 macrolanguages: whoever reads one reads the other, and the detector mixes them up
    **dict.fromkeys(("wuu", "yue"), "zh"),
    **dict.fromkeys(("ary", "arz"), "ar"),
    **dict.fromkeys(("bs", "hr", "sr"), "sh"),
    "id": "ms",
    "nn": "no",
}
LEAST_BYTES: Final = 40  # letters in UTF-8: 40 Latin ones, 14 Chinese ones; a shorter text tells too little
WINDOW_CHARS: Final = 400
PLAINLY_ENGLISH: Final = 0.2  # share of such words from which on the detector, thirty times as slow, is not asked
ENGLISH: Final = re.compile(  # words of hardly any other language
    r"\b(?:the|and|of|to|that|with|this|what|which|have|from|you|your|for|are|how|when|would|should|could|can|they|there"
    r"|their|been|not|it|is|about|because|please|make|who|why|does|write|my)\b"
)
_WORD: Final = re.compile(r"[a-z']+")
_NO_LETTER: Final = re.compile(r"[\W\d_]+")


def languages_of(guard: Guard) -> Languages | None:
    """Recall by language and category of a guard; None where it judges characters, not language.

    A guard that does not say counts as measured in English only.
    """
    return guard.languages if isinstance(guard, Measured) else ONLY_HOME


def measured(languages: Languages, language: str, category: str, least_recall: float) -> bool:
    """Whether a guard finds enough of a category in a language. English needs no figure if it is named."""
    recall = languages.get(language, {}).get(category)
    return language == HOME and HOME in languages if recall is None else recall >= least_recall


def code_of(category: str) -> str:
    """The ISO 639 code in a category of the language guard."""
    return category.removeprefix(f"{LANGUAGE}:")


class LanguageGuard:
    """Scores the languages a text is in, window by window. What is short, or no language, has no scores.

    The model is py3langid's: 139 languages, naive Bayes over byte sequences, in the package itself.
    """

    name: str = LANGUAGE
    languages: Languages | None = None
    most_chars: int | None = 20_000

    def __init__(self) -> None:
        from py3langid.langid import MODEL_DIR, MODEL_FILE, LanguageIdentifier

        self.version = version("py3langid")
        settings = repr((CERTAIN, LEAST_BYTES, WINDOW_CHARS, PLAINLY_ENGLISH, ENGLISH.pattern))
        self.digest = hashlib.sha256((MODEL_DIR / MODEL_FILE).read_bytes() + settings.encode()).hexdigest()
        self._detector = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        self._categories = frozenset(
            f"{LANGUAGE}:{MACRO.get(code, code)}" for code in self._detector.labels if code != NO_LANGUAGE
        )

    def covers(self, stage: Stage) -> frozenset[str]:
        return self._categories

    def judge(self, passages: Sequence[Passage]) -> list[Scores]:
        """The highest probability of each language over the windows of a passage; its prompt is not looked at."""
        return [self._scores(p) for p in passages]

    def _scores(self, passage: Passage) -> Scores:
        scores: dict[str, float] = {}
        for window in _windows(passage.text, passage.since):
            code, probability = self._detected(window)
            if code != NO_LANGUAGE:
                category = f"{LANGUAGE}:{code}"
                scores[category] = max(probability, scores.get(category, 0.0))
        return Scores(scores)

    def _detected(self, window: str) -> tuple[str, float]:
        if len(window) >= LEAST_BYTES and window.isascii() and _plainly_english(window.lower()):
            return HOME, 1.0
        if len(_NO_LETTER.sub("", window).encode("utf-8", "surrogatepass")) < LEAST_BYTES:
            return NO_LANGUAGE, 1.0
        found: dict[str, float] = {}
        for code, probability in self._detector.rank(window)[:5]:
            found[MACRO.get(code, code)] = found.get(MACRO.get(code, code), 0.0) + float(probability)
        return max(found.items(), key=itemgetter(1))


def _plainly_english(text: str) -> bool:
    return len(ENGLISH.findall(text)) >= PLAINLY_ENGLISH * len(_WORD.findall(text)) > 0


def _windows(text: str, since: int) -> Iterator[str]:
    """Parts of a text that reach past `since`, each a window long and the last one up to half a window more."""
    start = max(0, min(since, len(text) - WINDOW_CHARS))
    while len(text) - start > WINDOW_CHARS + WINDOW_CHARS // 2:
        yield text[start : start + WINDOW_CHARS]
        start += WINDOW_CHARS
    yield text[start:]
