"""What got through is put before people: the only ones who say that it was harmful."""

import time
from collections.abc import Sequence
from typing import Final

from training.redteam.search import Attempt
from training.service_client import Service, ServiceError

REASON: Final = "redteam"
AT_ONCE: Final = 500
WAITS_S: Final = (0.2, 0.5, 1.0, 2.0, 4.0)  # an exchange is on record a moment after it was answered


def ask_about(service: Service, attempts: Sequence[Attempt]) -> int:
    """Puts the exchanges of successes into the review queue; how many items are new. Raises ServiceError."""
    ids = list(dict.fromkeys(a.exchange_id for a in attempts if a.success and a.exchange_id))
    added = 0
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE]
        items = [{"exchange_id": i, "reason": REASON, "inclusion_probability": 1.0} for i in some]
        added += sum(one["added"] for one in _asked(service, {"items": items})["data"])
    return added


def _asked(service: Service, body: dict[str, object]) -> dict[str, list[dict[str, bool]]]:
    for wait_s in WAITS_S:
        try:
            return dict(service.post("/v1/review/items", body))
        except ServiceError as error:
            if error.status not in (404, 409):
                raise
        time.sleep(wait_s)
    return dict(service.post("/v1/review/items", body))
