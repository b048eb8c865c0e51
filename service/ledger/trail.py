"""The events of one exchange, put together: what of it is kept, and as which rows. Pure."""

import base64
from dataclasses import dataclass, field
from typing import Any

from service.gate.exchange import Json
from service.ledger.routing import RESTRICTED, URGENT, new_item, route

Rows = dict[str, list[Json]]
UNKNOWN = "unknown"


@dataclass(slots=True)
class Trail:
    """Events of one exchange in order, each once: all by their id, the first of each kind by its kind."""

    exchange_id: str
    events: dict[str, Json] = field(default_factory=dict)
    firsts: dict[str, Json] = field(default_factory=dict)
    flagged: bool = False

    def add(self, event: Json) -> None:
        self.events.setdefault(event["id"], event)
        self.firsts.setdefault(event["event"], event)
        self.flagged = self.flagged or _flags(event)

    def first(self, kind: str) -> Json | None:
        return self.firsts.get(kind)

    @property
    def began(self) -> bool:
        return self.first("asked") is not None

    @property
    def complete(self) -> bool:
        """Nothing more is waited for: it was closed, or its beginning was stored earlier."""
        return self.first("closed") is not None or not self.began

    @property
    def kept(self) -> bool:
        """Whether anything of it is stored: under `store: none` only what was flagged, and of that no text."""
        asked = self.first("asked")
        return self.flagged or (asked is not None and asked["store"] != "none")

    @property
    def sampled(self) -> bool:
        """Whether chance picked it and there was room for it; with too little, clean samples are given up."""
        asked, closed = self.first("asked") or {}, self.first("closed") or {}
        return bool(asked.get("sampled")) and not closed.get("shed")

    @property
    def texts_kept(self) -> bool:
        return self.flagged or self.sampled

    def interrupt(self) -> None:
        """Closes what a process left open when it died, for a reviewer to look at."""
        last = next(reversed(self.events.values()))
        self.add(
            {
                "event": "closed",
                "id": f"{self.exchange_id}:closed",
                "exchange_id": self.exchange_id,
                "at": last.get("at", 0.0),
                "outcome": "interrupted",
                "flagged": True,
            }
        )

    def rows(self) -> Rows:
        """Rows by table. Raises KeyError for an event that lacks a field."""
        kept, items = self.texts_kept, self._items()
        return {
            "exchanges": [self._exchange(items, kept)],
            "verdicts": [row for e in self.events.values() if "verdicts" in e for row in _verdicts(e)],
            "deliveries": _deliveries(self.first("closed") or {}, self.exchange_id),
            "content_keys": list({k["id"]: k for e in self.events.values() if kept and (k := _key(e))}.values()),
            "contents": [row for e in self.events.values() if kept and (row := _content(e))],
            "review_items": items,
            "beside": [{name: e[name] for name in _BESIDE} for e in self.events.values() if e["event"] == "beside"],
            "marks": self._marks() if kept else [],
        }

    def _retention_class(self, items: list[Json], kept: bool) -> str:
        if not self.flagged:
            return "sampled" if kept else "metadata"
        return "restricted" if any(item["queue"] == "restricted" for item in items) else "flagged"

    def _marks(self) -> list[Json]:
        found = {mark for event in self.events.values() for mark in event.get("marks", ())}
        return [{"exchange_id": self.exchange_id, "mark": mark} for mark in sorted(found)]

    def _items(self) -> list[Json]:
        """What reviewers are asked: of all that was flagged, and of the clean exchanges that chance picked."""
        if not self.texts_kept:
            return []
        asked, closed = self.first("asked") or {}, self.first("closed") or {}
        why = "flagged" if self.flagged else "sample"
        events = [e for e in self.events.values() if e["event"] == "verdict"]
        found = [v["category"] for e in events for v in e["verdicts"] if v.get("error") is None]
        last: float = next(reversed(self.events.values()))["at"]
        routing = route(
            float(asked.get("at", last)),
            found,
            why,
            RESTRICTED.union(asked.get("restricted", ())),
            URGENT.union(asked.get("urgent", ())),
        )
        share = 1.0 if self.flagged else asked.get("sample_share")
        return [new_item(self.exchange_id, why, float(closed.get("at", last)), routing, share)]

    def _exchange(self, items: list[Json], kept: bool) -> Json:
        last = next(reversed(self.events.values()))
        asked, closed = self.first("asked") or {}, self.first("closed") or {}
        return {
            "id": self.exchange_id,
            "asked_at": asked.get("at", last["at"]),
            "closed_at": closed.get("at", last["at"]),
            # PostgreSQL takes no NUL, and a caller must not keep a record out by sending one
            **{name: (asked.get(name) or UNKNOWN).replace("\0", "\\0") for name in _NAMES},
            "stream": asked.get("stream", False),
            "choices": asked.get("choices", 1),
            "policy_version": asked.get("policy_version", 0),
            "subject": asked.get("subject"),
            "sampled": kept and self.sampled,
            "outcome": closed.get("outcome", UNKNOWN),
            "flagged": self.flagged,
            **{name: closed.get(name) for name in ("duration_s", "first_content_s", "usage", "scores")},
            "erased_at": None,
            "legal_hold": False,
            "retention_class": self._retention_class(items, kept),
        }


_NAMES = ("endpoint", "model", "key_id", "tenant", "policy", "policy_digest", "store")
_BESIDE = ("exchange_id", "digest", "guard", "version", "enforced", "at", "scores")
_OF_EVENT = ("exchange_id", "at", "choice", "channel", "blocked", "released_chars")
_OF_VERDICT = ("guard", "version", "digest", "stage", "category", "score", "threshold", "action", "mode", "policy")


def _flags(event: Json) -> bool:
    if event["event"] == "closed":
        return bool(event["flagged"] or event["outcome"] == "interrupted")
    return event["event"] == "verdict" and bool(event.get("flagged", True))


def _verdicts(event: Json) -> list[Json]:
    shared: dict[str, Any] = {"event_id": event["id"], **{name: event[name] for name in _OF_EVENT}}
    return [
        shared
        | {name: verdict[name] for name in (*_OF_VERDICT, "policy_digest")}
        | {"position": i, "error": verdict.get("error"), "spans": verdict.get("spans", [])}
        for i, verdict in enumerate(event["verdicts"])
    ]


def _deliveries(closed: Json, exchange_id: str) -> list[Json]:
    return [
        {
            "exchange_id": exchange_id,
            "position": i,
            "choice": delivery["index"],
            **{n: delivery[n] for n in ("channel", "generated_chars", "released_chars", "withheld_chars")},
            "finish_reason": delivery.get("finish_reason"),
        }
        for i, delivery in enumerate(closed.get("deliveries", []))
    ]


def _key(event: Json) -> Json | None:
    if (sealed := event.get("sealed")) is None:
        return None
    return {
        "id": sealed["key_id"],
        "exchange_id": event["exchange_id"],
        "master_id": sealed["master_id"],
        "wrapped": base64.b64decode(sealed["wrapped"]),
    }


def _content(event: Json) -> Json | None:
    if (sealed := event.get("sealed")) is None:
        return None
    return {
        "event_id": event.get("of", event["id"]),  # a text that came later than the event it belongs to
        "exchange_id": event["exchange_id"],
        "key_id": sealed["key_id"],
        "sealed": base64.b64decode(sealed["text"]),
    }
