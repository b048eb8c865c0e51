"""What a guard said of input before: earlier turns of a conversation come again with every request."""

import hashlib
import secrets
from collections import OrderedDict
from typing import Final

from guards.guard import Guard
from guards.verdict import Passage, Scores

REMEMBERED: Final = 20_000  # passages a guard, a few hundred bytes each
MOST_SPANS: Final = 100  # a passage with more is judged again: rare, and large in memory


class Known:
    """Scores of input passages: earlier turns of a conversation come again with every request.

    Scores, never decisions: what a policy makes of them is worked out afresh each time, so its digest is no part of the
    key. Answers are not remembered: a text that grows is never the same twice.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._key = secrets.token_bytes(32)
        self._scores: OrderedDict[bytes, Scores] = OrderedDict()

    def get(self, passage: Passage, tenant: str) -> Scores | None:
        if passage.stage == "output":
            return None
        scores = self._scores.get(key := self._hash(passage, tenant))
        if scores is not None:
            self._scores.move_to_end(key)
        return scores

    def put(self, passage: Passage, tenant: str, scores: Scores) -> None:
        if passage.stage == "output" or len(scores.spans) > MOST_SPANS:
            return
        self._scores[self._hash(passage, tenant)] = scores
        if len(self._scores) > REMEMBERED:
            self._scores.popitem(last=False)

    def _hash(self, passage: Passage, tenant: str) -> bytes:
        """Everything that the scores depend on. By tenant, or the time an answer takes would tell what others sent."""
        p = passage
        sizes = f"{p.since} {len(tenant)} {len(p.prompt)}"
        text = "\0".join((self._guard.digest, p.kind, sizes, tenant, p.prompt, p.text)).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._key, digest_size=16).digest()
