import orjson
from hypothesis import given
from hypothesis import strategies as st

from service.ledger.records import HEADER, frame, read

EVENTS = [{"id": str(i), "text": "x{}" * i} for i in range(5)]
FRAMES = [frame(orjson.dumps(e)) for e in EVENTS]


def test_a_log_cut_at_any_byte_gives_the_whole_records_before_the_cut():
    """Whatever the last write managed to put on disk, every record before it is read and nothing is called damaged."""
    data = b"".join(FRAMES)
    for cut in range(len(data) + 1):
        whole = sum(len(b"".join(FRAMES[: i + 1])) <= cut for i in range(len(FRAMES)))
        found = read(data[:cut])
        assert found.events == EVENTS[:whole]
        assert found.end == len(b"".join(FRAMES[:whole]))
        assert found.damaged_bytes == 0


@given(st.integers(0, len(b"".join(FRAMES)) - 1), st.integers(1, 255))
def test_a_changed_byte_costs_one_record(position, flip):
    """A byte that rots loses the record it is in, never a record behind it, and never goes unnoticed."""
    data = bytearray(b"".join(FRAMES))
    data[position] ^= flip
    hit = next(i for i in range(len(FRAMES)) if position < len(b"".join(FRAMES[: i + 1])))
    found = read(bytes(data))
    assert found.events == EVENTS[:hit] + EVENTS[hit + 1 :]
    last = hit == len(FRAMES) - 1
    assert (len(data) - found.end if last else found.damaged_bytes) == len(FRAMES[hit])


def test_zeros_are_no_records():
    """A stretch of zeros, as file systems leave after a power cut, is damage and not a row of empty records."""
    found = read(FRAMES[0] + bytes(4096) + FRAMES[1])
    assert found.events == EVENTS[:2]
    assert found.damaged_bytes == 4096
    assert read(bytes(4096)).end == 0


@given(st.binary(max_size=200), st.integers(0, 4))
def test_garbage_before_a_record_never_hides_it(garbage, which):
    """A sound record is found behind any garbage."""
    found = read(garbage + FRAMES[which])
    assert found.events[-1] == EVENTS[which]


def test_reading_stops_at_the_limit():
    """A reader that asks for n records gets n, and the place to go on from."""
    data = b"".join(FRAMES)
    first = read(data, 2)
    assert first.events == EVENTS[:2]
    assert read(data[first.end :]).events == EVENTS[2:]
    assert HEADER.size == 8
