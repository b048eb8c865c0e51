"""Text as pieces: nothing is lost, nothing is a link, nothing is invisible. Pure."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from guards.verdict import Span
from service.review.console.care import PAUSE_S, _stretch
from service.review.pieces import personal, pieces


@given(st.text(max_size=200), st.integers(0, 200), st.integers(0, 200))
def test_pieces_stand_for_the_text(text, a, b):
    """For any text and any stretch of it, what the pieces stand for is that stretch."""
    start, end = sorted((min(a, len(text)), min(b, len(text))))
    found = pieces(text, start, end)
    assert "".join(p.plain for p in found) == text[start:end]
    assert all(p.shown for p in found)


@given(st.text(alphabet=st.characters(categories=["Cc", "Cf", "Co", "Zl", "Zp"]), max_size=50))
def test_what_cannot_be_seen_is_a_chip(text):
    """Controls, formats and separators never reach the page but for lines, tabs and the joiners of emoji."""
    shown = "".join(p.shown for p in pieces(text) if p.kind == "text")
    assert all(unicodedata.category(c) not in ("Cf", "Co") and c not in "\x00\x1b\u2028" for c in shown)


def test_addresses_are_defanged():
    """Schemes and dots of names are written out; numbers and the ends of sentences stay."""
    text = "See HTTPS://a.example.com/x, javascript:alert(1), 3.14. End."
    shown = "".join(p.shown for p in pieces(text))
    assert shown == "See HXXPS://a[.]example[.]com/x, javascript[:]alert(1), 3.14. End."


def test_redacted_text_is_not_in_the_pieces_shown():
    """Personal data is replaced by its kind, its length kept."""
    text = "write to jane@example.com now"
    found = pieces(text, hidden=personal(text, 0, len(text)))
    assert [p.shown for p in found if p.kind == "redacted"] == ["[email]"]
    assert "jane" not in "".join(p.shown for p in found)
    assert sum(p.length for p in found) == len(text)
    assert [p.shown for p in pieces("abcd", hidden=[Span(1, 3, "x"), Span(2, 9, "y")])] == ["a", "[x]", "[y]"]


def test_a_stretch_of_work_ends_at_a_pause():
    """What was seen before a pause does not count towards the next break."""
    now = 10_000.0
    seen = [now - 4000, now - 3900, now - 600, now - 400, now - 200]
    assert _stretch(seen, now) == 600
    assert _stretch([now - PAUSE_S - 1], now) == 0
