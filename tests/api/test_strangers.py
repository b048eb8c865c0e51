"""Who sends wrong keys waits, is forgotten in time, and cannot fill the memory."""

import pytest

from service.api.strangers import WINDOW_S, Strangers


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_an_address_waits_until_its_minute_is_over():
    """After so many wrong keys it waits for the rest of the minute that its first one began; then it is new."""
    clock = Clock()
    strangers = Strangers(3, clock=clock)
    for _ in range(3):
        assert strangers.wait_s("192.0.2.1") == 0
        strangers.wrong("192.0.2.1")
        clock.now += 10
    assert strangers.wait_s("192.0.2.1") == WINDOW_S - 30
    assert strangers.wait_s("192.0.2.2") == 0
    clock.now += WINDOW_S - 30
    assert strangers.wait_s("192.0.2.1") == 0
    strangers.wrong("192.0.2.1")
    assert strangers.wait_s("192.0.2.1") == 0


@pytest.mark.parametrize(
    ("first", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("", "", True),
        ("unix:a", "unix:b", False),
    ],
)
def test_whose_an_address_is(first, other, same):
    """A network of 64 bits is one caller's in IPv6; IPv4 addresses, also as IPv6 writes them, are each one's."""
    strangers = Strangers(1)
    strangers.wrong(first)
    assert (strangers.wait_s(other) > 0) is same


def test_memory_is_bounded():
    """Of more addresses than are remembered, those are forgotten whose last wrong key is the oldest."""
    strangers = Strangers(1, most=3)
    for number in (1, 2, 3, 1, 4):
        strangers.wrong(f"192.0.2.{number}")
    assert [number for number in range(1, 5) if strangers.wait_s(f"192.0.2.{number}")] == [1, 3, 4]
