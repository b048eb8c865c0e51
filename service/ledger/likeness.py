"""Marks of a text: texts that are nearly the same share some. Keyed, so that nobody can test guesses against them.

MinHash over word triples in bands (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4): two
texts of Jaccard similarity s share a given band with probability s^4, and at least one of the eight half of the time
from s = 0.53 on.
"""

import re
from hashlib import blake2b
from typing import Final

import numpy as np

BANDS: Final = 8
_ROWS: Final = 4
_READ_CHARS: Final = 2000  # of a longer text its beginning: it is work while a stream waits
_WORDS: Final = re.compile(r"\w+")
_DIGITS: Final = re.compile(r"\d")
_SEEDS: Final = np.random.default_rng(20261121).integers(1, 2**63, (2, BANDS * _ROWS, 1), dtype=np.uint64)


def marks(text: str, key: bytes, kind: str = "") -> list[str]:
    """`BANDS` marks; none for a text without words. Case, digits and punctuation make no difference.

    `key`: 1 to 64 bytes. `kind`: texts of different kinds share no mark.
    """
    words = _WORDS.findall(_DIGITS.sub("0", text[:_READ_CHARS]).casefold())
    if not words:
        return []
    triples = {" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))}
    encoded = (t.encode(errors="surrogatepass") for t in triples)
    hashes = np.frombuffer(b"".join(blake2b(t, key=key, digest_size=8).digest() for t in encoded), dtype=np.uint64)
    lowest = (hashes * (_SEEDS[0] | np.uint64(1)) + _SEEDS[1]).min(axis=1).reshape(BANDS, _ROWS)
    bands = (f"{kind}/{n}/".encode() + band.tobytes() for n, band in enumerate(lowest))
    return [blake2b(band, key=key, digest_size=12).hexdigest() for band in bands]
