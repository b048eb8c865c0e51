"""No text on both sides: dedupe, then split by group or template. Pure and deterministic."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from training.rows import Row

_WORD = re.compile(r"\w+")


def dedupe(rows: Iterable[Row]) -> list[Row]:
    """The first of rows that say the same but for case, punctuation, spaces and digits; order is kept."""
    seen: dict[str, Row] = {}
    for row in rows:
        seen.setdefault(fingerprint(row.text + " " + row.prompt if row.is_response else row.text), row)
    return list(seen.values())


def split(rows: Sequence[Row], shares: Mapping[str, float], seed: int) -> dict[str, list[Row]]:
    """Rows by part; all rows of one group, of one template or with one text fall into the same part.

    Args:
        shares: part -> its share; they add up to 1.
    """
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"shares add up to {sum(shares.values())}, not to 1: {dict(shares)}")
    parts: dict[str, list[Row]] = {part: [] for part in shares}
    for row in rows:
        parts[_part(family(row), shares, seed)].append(row)
    return parts


def family(row: Row) -> str:
    """What must not be torn apart: the group where the source has one, else the prompt or text itself."""
    if row.group:
        return f"{row.source.split('_')[0]}/{row.group}"
    return fingerprint(row.prompt or row.text)


def fingerprint(text: str) -> str:
    """The same for texts that differ only in case, punctuation, spacing, letter forms or numbers."""
    words = _WORD.findall(unicodedata.normalize("NFKD", text).casefold())
    said = " ".join("0" if w.isdigit() else w for w in words) or text
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()


def _part(key: str, shares: Mapping[str, float], seed: int) -> str:
    point = int.from_bytes(hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8).digest()) / 2**64
    for part, share in shares.items():
        point -= share
        if point < 0:
            return part
    return next(reversed(list(shares)))
