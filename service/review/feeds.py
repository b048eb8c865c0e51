"""What leaves as training data, by name."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, Literal

from service.gate.exchange import Json
from service.ledger.store import Store
from service.review.export import rows
from service.review.rankings import pairs, preferred

What = Literal["guards", "preferences", "preferred"]
FEEDS: Final[Mapping[What, Callable[[Store], AsyncIterator[Json]]]] = {
    "guards": rows,  # judged texts with what reviewers decided
    "preferences": pairs,  # ranked answers, one against another, in TRL's form
    "preferred": preferred,  # answers that reviewers wrote, as conversations
}
