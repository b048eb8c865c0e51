"""Wrong keys by address: who guesses is told to wait. Pure but for the clock; what is remembered is bounded."""

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Final

WINDOW_S: Final = 60.0
MOST: Final = 10_000  # addresses; of more, those are forgotten whose last wrong key is the oldest
GUESSABLE_CHARS: Final = 32  # a shorter key may be one that somebody thought up; those the service makes have 50


class Strangers:
    """`per_minute`: wrong keys that an address may send, counted from its first."""

    def __init__(self, per_minute: int, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._most, self._clock = most, clock
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()  # when the first came, and how many

    def wrong(self, address: str) -> None:
        """Counts a wrong key."""
        whose, now = _whose(address), self._clock()
        began, count = self._seen.get(whose, (now, 0))
        self._seen[whose] = (now, 1) if now - began >= WINDOW_S else (began, count + 1)
        self._seen.move_to_end(whose)
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)

    def wait_s(self, address: str) -> int:
        """Whole seconds until this address may try again; 0: now."""
        began, count = self._seen.get(_whose(address), (0.0, 0))
        left_s = began + WINDOW_S - self._clock()
        return ceil(left_s) if count >= self.per_minute and left_s > 0 else 0


def _whose(address: str) -> str:
    """An IPv6 network of 64 bits is one caller's; anything else is as it is."""
    try:
        known = ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(known, IPv6Address):
        return str(known.ipv4_mapped or f"{int(known) >> 64:x}/64")
    return str(known)
