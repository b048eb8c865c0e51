"""The spool's bytes: length u32, crc32 u32 (little-endian), JSON. Pure."""

import struct
import zlib
from dataclasses import dataclass
from typing import Any, Final

import orjson

HEADER: Final = struct.Struct("<II")
LONGEST_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Read:
    """What a stretch of bytes holds. `end`: bytes consumed; what lies behind is the beginning of a record at most."""

    events: list[dict[str, Any]]
    end: int
    damaged_bytes: int = 0


def frame(payload: bytes) -> bytes:
    """A record. Raises ValueError when it is too long to be told from damage."""
    if len(payload) > LONGEST_BYTES:
        raise ValueError(f"an event of {len(payload)} bytes; at most {LONGEST_BYTES}")
    return HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def read(data: bytes, limit: int | None = None) -> Read:
    """Events in order, at most `limit`. Damaged bytes are stepped over up to the next sound record, and counted.

    An incomplete record at the end is left alone: a writer is at work there, or died there.
    """
    events: list[dict[str, Any]] = []
    at = damaged = 0
    while limit is None or len(events) < limit:
        payload = _payload(data, at)
        if payload is None:
            found = _next_sound(data, at + 1)
            if found is None:
                break
            damaged += found - at
            at = found
            continue
        events.append(orjson.loads(payload))
        at += HEADER.size + len(payload)
    return Read(events, at, damaged)


def _payload(data: bytes, at: int) -> bytes | None:
    """The payload of a sound record at `at`; None when there is none."""
    if at + HEADER.size > len(data):
        return None
    length, crc = HEADER.unpack_from(data, at)
    start = at + HEADER.size
    if not 0 < length <= len(data) - start:
        return None
    payload = data[start : start + length]
    return payload if zlib.crc32(payload) == crc else None


def _next_sound(data: bytes, at: int) -> int | None:
    """Where the next sound record begins; every payload begins with a brace, which makes the search quick."""
    brace = data.find(b"{", at + HEADER.size)
    while brace != -1:
        if _payload(data, brace - HEADER.size) is not None:
            return brace - HEADER.size
        brace = data.find(b"{", brace + 1)
    return None
