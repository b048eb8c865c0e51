"""Where an exchange goes to be reviewed, how soon, and why. Pure."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from guards.taxonomy import CATEGORIES
from service.gate.exchange import Json

TARGETS_S: Final = {"default": 86_400.0, "urgent": 900.0, "restricted": 3600.0}  # as the queues are at first
RESTRICTED: Final = frozenset(c.name for c in CATEGORIES.values() if c.restricted)
URGENT: Final = frozenset(c.name for c in CATEGORIES.values() if c.urgent)
_PRIORITIES: Final = {"report": 1, "appeal": 1, "flagged": 2, "chosen": 2, "gold": 2, "selected": 2, "sample": 3}


@dataclass(frozen=True, slots=True)
class Routing:
    """`priority`: 0 comes first. `due_at` in unix seconds. `categories`: all found, the gravest first."""

    queue: str
    priority: int
    due_at: float
    categories: tuple[str, ...]

    @property
    def restricted(self) -> bool:
        return self.queue == "restricted"

    @property
    def urgent(self) -> bool:
        return self.queue == "urgent"

    @property
    def columns(self) -> Json:
        """As columns of `review_items`."""
        joined = f",{','.join(self.categories)}," if self.categories else ""
        category = self.categories[0] if self.categories else None
        return {
            "queue": self.queue,
            "priority": self.priority,
            "due_at": self.due_at,
            "category": category,
            "categories": joined,
        }


def route(
    at: float,
    categories: Sequence[str],
    why: str = "flagged",
    restricted: Collection[str] = RESTRICTED,
    urgent: Collection[str] = URGENT,
) -> Routing:
    """Child exploitation goes to the restricted queue whatever else was found; imminent harm to the urgent one.

    `at`: when it was asked. `restricted` and `urgent`: names of such categories, those of a policy's own included.
    """
    found = dict.fromkeys(categories)
    ordered = sorted(found, key=lambda c: (c not in restricted, c not in urgent))
    queue = "default"
    if any(c in urgent for c in found):
        queue = "urgent"
    if any(c in restricted for c in found):
        queue = "restricted"
    priority = _PRIORITIES[why] if queue == "default" else 0
    return Routing(queue, priority, at + TARGETS_S[queue], tuple(ordered))


def item_id(exchange_id: str, why: str) -> str:
    """That of the item an exchange itself brings: the same however often it is stored. It does not tell why."""
    return "item_" + uuid.uuid5(uuid.NAMESPACE_OID, f"{exchange_id}/{why}").hex


def new_item(exchange_id: str, why: str, at: float, routing: Routing, probability: float | None) -> Json:
    """A row of `review_items`, open. `at`: when it came to be."""
    return {
        "id": item_id(exchange_id, why),
        "exchange_id": exchange_id,
        "why": why,
        "inclusion_probability": probability,
        "created_at": at,
        "state": "open",
        "reviews_wanted": 1,
        "reviews_done": 0,
        "gold": None,
        **routing.columns,
    }
