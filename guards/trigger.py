"""A harmless text for each category that is always judged to be of it, as EICAR's file is to virus scanners.

Integrators test with it what a refusal looks like, operators that a policy is in force, without a harmful word.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Final

from guards.taxonomy import CATEGORIES
from guards.verdict import Languages, Passage, Scores, Span, Stage

TRIGGERS: Final = "triggers"
START: Final = "SLUICEGATE-"
CODE_CHARS: Final = 8
KNOWN_CHARS: Final = len(START) + CODE_CHARS  # within the default policy's lookahead: nothing of a trigger leaves


def trigger(category: str) -> str:
    """The trigger text of a category: `SLUICEGATE-`, eight letters or digits of its own, its name. Never changes."""
    code = base64.b32encode(hashlib.sha256(f"sluicegate trigger {category}".encode()).digest())[:CODE_CHARS].decode()
    return f"{START}{code}-{category.upper()}"


class TriggerGuard:
    """Scores 1 for each category whose trigger is in the text, else 0, whoever wrote it.

    A trigger is known by its first 19 characters, so that a stream is stopped before its name is there. This guard
    covers no category in the sense of a policy: a rule needs another guard that judges real text.
    """

    name = TRIGGERS
    version = "1"
    most_chars: int | None = None  # one search for a fixed string
    languages: Languages | None = None  # it reads characters, whatever the language

    def __init__(self, categories: Iterable[str] = CATEGORIES) -> None:
        self._categories = frozenset(categories)
        self._clean = dict.fromkeys(self._categories, 0.0)
        self._of_code = {trigger(c)[len(START) : KNOWN_CHARS]: c for c in self._categories}
        codes = "|".join(rf"{code}(?:-{_growing(c.upper())})?" for code, c in sorted(self._of_code.items()))
        self._found = re.compile(rf"{START}(?:{codes})")
        self.digest = hashlib.sha256(self._found.pattern.encode()).hexdigest()

    def covers(self, stage: Stage) -> frozenset[str]:
        """Every category at both stages."""
        return self._categories

    def judge(self, passages: Sequence[Passage]) -> list[Scores]:
        """Spans of triggers that end after `since`."""
        return [self._scores(p) if START in p.text else Scores(self._clean) for p in passages]

    def _scores(self, passage: Passage) -> Scores:
        spans = tuple(
            Span(m.start(), m.end(), self._of_code[m.group()[len(START) : KNOWN_CHARS]])
            for m in self._found.finditer(passage.text)
            if m.end() > passage.since
        )
        return Scores({**self._clean, **{s.category: 1.0 for s in spans}}, spans)


def _growing(word: str) -> str:
    """A pattern for any beginning of `word`, as long as there is: in a stream the rest has yet to come."""
    pattern = ""
    for char in reversed(word):
        pattern = f"(?:{char}{pattern})?"
    return pattern
