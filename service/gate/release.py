"""Which text may leave now. Pure: push generated text, judge a segment, clear it, get what may leave.

The rule: a character leaves only when text judged safe reaches at least `lookahead_chars` beyond it, or the text has
ended and all of it was judged.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from guards.redact import redact
from guards.verdict import Span


@dataclass(frozen=True, slots=True)
class Pace:
    """How much text one segment takes: `first_chars`, then twice as much each time up to `most_chars`.

    `whole` holds everything until the text has ended.
    """

    lookahead_chars: int
    first_chars: int
    most_chars: int
    whole: bool = False


@dataclass(slots=True)
class Hold:
    """Text of one channel of one choice on its way out: generated >= judged >= released, all in characters."""

    pace: Pace
    text: str = ""
    judged: int = 0
    released: int = 0
    ended: bool = False
    _segment: int = 0
    _logprobs: deque[tuple[int, Any]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._segment = self.pace.first_chars

    def push(self, text: str, logprobs: Any = None) -> None:
        self.text += text
        if logprobs is not None:
            # a token without text of its own (half a character, say) belongs to the character that follows
            self._logprobs.append((len(self.text) + (not text), logprobs))

    def end(self) -> None:
        self.ended = True

    @property
    def ready(self) -> bool:
        """A segment is long enough to be judged, or the text has ended and some of it has not left."""
        if self.ended:
            return self.released < len(self.text)
        if self.pace.whole:
            return False
        return len(self.text) - max(self.judged, self.pace.lookahead_chars) >= self._segment

    @property
    def drained(self) -> bool:
        return self.ended and self.released == len(self.text)

    def clear(self, judged: int, redactions: Sequence[Span] = ()) -> tuple[str, tuple[Any, ...]]:
        """`text[:judged]` was judged safe but for `redactions`: returns the text that may leave and its logprobs."""
        self.judged = judged
        self._segment = min(self._segment * 2, self.pace.most_chars)
        last = self.ended and judged == len(self.text)
        upto = judged if last else max(judged - self.pace.lookahead_chars, self.released)
        if not last:  # a span that may still grow stays whole
            upto = min([upto, *(max(s.start, self.released) for s in redactions if s.start < upto <= s.end)])
        start, self.released = self.released, upto
        inside = [
            Span(max(s.start, start) - start, min(s.end, upto) - start, s.category)
            for s in redactions
            if s.start < upto and s.end > start
        ]
        return redact(self.text[start:upto], inside), self._pop_logprobs(kept=not inside)

    def _pop_logprobs(self, kept: bool) -> tuple[Any, ...]:
        """Entries whose whole text has left; tokens name their text, so those of a redacted piece are dropped."""
        out = []
        while self._logprobs and (self._logprobs[0][0] <= self.released or self.drained):
            out.append(self._logprobs.popleft()[1])
        return tuple(out) if kept else ()
