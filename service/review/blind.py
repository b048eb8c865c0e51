"""Which reviewers see the guards' scores before they decide."""

from service.ledger.store import Store
from service.review.reviewer import Reviewer


def guard_visible(store: Store, item_id: str, reviewer: Reviewer, blind_share: float) -> bool:
    """Whether the guards' scores are on the screen before the decision: the same at every look, and nobody's choice."""
    drawn = int(store.vault.keyed_hash("blind", f"{item_id}/{reviewer.name}")[:8], 16)
    return drawn >= blind_share * 2**32
