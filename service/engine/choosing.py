"""Which engine takes a request. Pure: figures in, a name out.

Rendezvous hashing with bounded loads (Thaler, Ravishankar 1998; Mirrokni, Thorup, Zadimoghaddam 2018): what begins
alike goes where its beginning is cached, unless that engine is busier than the others.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

PREFIX_BYTES: Final = 2048
SPARE_TOKENS: Final = 2048  # an engine with so little to do is as good as an idle one
BOUND: Final = 1.25  # of the mean: how much busier a favourite may be
CHARS_PER_TOKEN: Final = 4
UNSAID_TOKENS: Final = 512  # of an answer whose length the caller left open


@dataclass(frozen=True, slots=True)
class Seen:
    """An engine as a pool sees it. `tokens`: asked of it and not answered yet."""

    name: str
    tokens: int = 0
    up: bool = True


def choose(engines: Sequence[Seen], prefix: bytes, cost: int, tried: Collection[str] = ()) -> str | None:
    """The engine for a request of `cost` tokens that begins with `prefix`; None when all were tried.

    When none is up any may be: the belief can be wrong, and nobody is worse off for a second refused connection.
    """
    left = [e for e in engines if e.name not in tried]
    able = [e for e in left if e.up] or left
    if not able:
        return None
    favourite = max(able, key=lambda e: _weight(e.name, prefix))
    fair = (sum(e.tokens for e in able) + cost) / len(able)
    if favourite.tokens + cost <= max(SPARE_TOKENS, BOUND * fair):
        return favourite.name
    return min(able, key=lambda e: (e.tokens, -_weight(e.name, prefix))).name


def _weight(name: str, prefix: bytes) -> int:
    """The same in every gateway, so that they agree without a word."""
    return int.from_bytes(hashlib.blake2b(name.encode(), key=prefix, digest_size=8).digest())


def prefix_of(tenant: str, body: dict[str, Any]) -> bytes:
    """What a conversation begins with and keeps: its instructions and its first turn. By tenant, as the cache is."""
    if "messages" in body:
        messages: list[dict[str, Any]] = body["messages"]
        first = next((i for i, message in enumerate(messages) if message.get("role") == "user"), 0)
        opening: Any = messages[: first + 1]
    else:
        opening = body.get("prompt", body.get("input"))
    return hashlib.blake2b(tenant.encode() + b"\0" + orjson.dumps(opening)[:PREFIX_BYTES], digest_size=32).digest()


def cost_of(body: dict[str, Any]) -> int:
    """Tokens to read and to write, as far as a request tells."""
    texts = body.get("messages", body.get("prompt", body.get("input")))
    reads = len(orjson.dumps(texts)) // CHARS_PER_TOKEN
    if "input" in body:
        return reads
    most = body.get("max_completion_tokens") or body.get("max_tokens") or UNSAID_TOKENS
    return int(reads + most * (body.get("n") or 1))
