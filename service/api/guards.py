"""GET /v1/guards: the guards that this process has loaded."""

from collections.abc import Sequence

from guards.guard import Guard
from guards.language import languages_of
from service.gate.exchange import Json


def listed(guards: Sequence[Guard]) -> Json:
    return {"object": "list", "data": [_plain(guard) for guard in guards]}


def _plain(guard: Guard) -> Json:
    languages = languages_of(guard)
    return {
        "object": "guard",
        "name": guard.name,
        "version": guard.version,
        "digest": guard.digest,
        "categories": {"input": sorted(guard.covers("input")), "output": sorted(guard.covers("output"))},
        # language -> category -> recall; null: it judges characters, whatever the language
        "languages": None if languages is None else {code: dict(recall) for code, recall in languages.items()},
        "most_chars": guard.most_chars,
    }
