"""Takes spans out of a text. Pure."""

from collections.abc import Sequence

from guards.verdict import Span


def redact(text: str, spans: Sequence[Span]) -> str:
    """`text` with each span replaced by its category in brackets: `write to [email]`.

    Overlapping spans become one, named after the longest; ends beyond the text are cut; empty spans do nothing.
    """
    pieces: list[str] = []
    done = 0
    for start, end, category in _merged(spans, len(text)):
        pieces += [text[done:start], f"[{category}]"]
        done = end
    return "".join((*pieces, text[done:]))


def _merged(spans: Sequence[Span], length: int) -> list[tuple[int, int, str]]:
    """Spans in order, none touching a character of another: (start, end, category of the longest part)."""
    merged: list[tuple[int, int, str]] = []
    longest = 0
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        start, end = max(span.start, 0), min(span.end, length)
        if start >= end:
            continue
        if merged and start < merged[-1][1]:
            first, last, category = merged[-1]
            merged[-1] = (first, max(last, end), span.category if end - start > longest else category)
            longest = max(longest, end - start)
        else:
            merged.append((start, end, span.category))
            longest = end - start
    return merged
