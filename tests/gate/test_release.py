"""What may leave: the pure rule, for any text, any cut, any lookahead."""

from hypothesis import given
from hypothesis import strategies as st

from guards.redact import redact
from guards.verdict import Span
from service.gate.release import Hold, Pace

cuts = st.lists(st.text(alphabet="ab @é\U0001f600", max_size=12), max_size=40)
paces = st.builds(
    Pace,
    lookahead_chars=st.integers(0, 30),
    first_chars=st.integers(1, 20),
    most_chars=st.integers(20, 60),
    whole=st.booleans(),
)


@given(cuts, paces)
def test_what_left_is_a_prefix_of_what_was_judged_safe(pieces: list[str], pace: Pace):
    """Whatever the cuts, released text is a prefix that ends `lookahead_chars` before the judged text or at its end."""
    hold, out = Hold(pace), ""
    for piece in pieces:
        hold.push(piece)
        while hold.ready:
            judged = len(hold.text)
            out += hold.clear(judged)[0]
            assert hold.text.startswith(out)
            assert len(out) <= max(judged - pace.lookahead_chars, 0)
            assert not pace.whole
    hold.end()
    while hold.ready:
        out += hold.clear(len(hold.text))[0]
    assert out == hold.text == "".join(pieces)
    assert hold.drained


def test_nothing_is_ready_before_the_first_segment_and_the_lookahead():
    """The first segment is judged when its characters and the lookahead are there, not earlier."""
    hold = Hold(Pace(lookahead_chars=10, first_chars=4, most_chars=64))
    hold.push("x" * 13)
    assert not hold.ready
    hold.push("x")
    assert hold.ready
    assert hold.clear(14)[0] == "xxxx"


def test_segments_double_up_to_the_most():
    """Segments take twice the characters each time, so that a long answer is not judged at a fixed stride."""
    hold, ends = Hold(Pace(lookahead_chars=0, first_chars=4, most_chars=16)), []
    for _ in range(100):
        hold.push("x")
        if hold.ready:
            ends.append(len(hold.text))
            hold.clear(len(hold.text))
    assert ends[:5] == [4, 12, 28, 44, 60]


@given(st.text(alphabet="ab", max_size=60), st.integers(0, 20), st.integers(1, 9))
def test_redaction_in_a_stream_equals_redaction_of_the_whole(text: str, lookahead: int, cut: int):
    """A span that is redacted while streaming gives the same text as redacting the finished answer."""
    word = "secret"
    full = text[: len(text) // 2] + word + text[len(text) // 2 :]
    start = full.index(word)
    spans = [Span(start, start + len(word), "secret")]
    hold, out = Hold(Pace(max(lookahead, len(word)), 1, 8)), ""
    for i in range(0, len(full), cut):
        hold.push(full[i : i + cut])
        hold.ended = i + cut >= len(full)
        while hold.ready:
            seen = [s for s in spans if word in hold.text]
            out += hold.clear(len(hold.text), seen)[0]
    assert out == redact(full, spans)


def test_logprobs_leave_only_with_their_text():
    """A token's logprobs stay until the whole token has left; those of a redacted piece never leave."""
    hold = Hold(Pace(lookahead_chars=2, first_chars=2, most_chars=2))
    hold.push("abc", "L1")
    hold.push("d", "L2")
    assert hold.clear(4) == ("ab", ())
    hold.push("ef", "L3")
    assert hold.clear(6) == ("cd", ("L1", "L2"))
    hold.end()
    assert hold.clear(6, [Span(4, 6, "secret")]) == ("[secret]", ())


def test_a_token_without_text_waits_for_the_character_it_belongs_to():
    """Logprobs of half a character do not leave before the character."""
    hold = Hold(Pace(lookahead_chars=0, first_chars=1, most_chars=1))
    hold.push("a", "L1")
    hold.push("", "half")
    assert hold.clear(1) == ("a", ("L1",))
    hold.push("é", "L2")
    assert hold.clear(2) == ("é", ("half", "L2"))
