"""What the HTTP API is built from: one value, made at start."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from guards.guard import Guard
from service.gate.exchange import Caller, Json
from service.gate.pipeline import Gate
from service.ledger.store import Store
from service.settings import Settings
from service.telemetry.metrics import Metrics


class Keys(Protocol):
    async def lookup(self, token: str) -> Caller | None:
        """Whom a bearer key belongs to; None when it is unknown or revoked."""
        ...


@dataclass(frozen=True, slots=True)
class Api:
    """`guards` are those in force, `ready`: whether exchanges can be judged and recorded, `told`: whence a policy is.

    `store` is where exchanges come to be reviewed; None: nothing is. `engine_up`: whether an engine answered of late.
    """

    gate: Gate
    keys: Keys
    settings: Settings
    metrics: Metrics
    guards: Callable[[], Sequence[Guard]]
    ready: Callable[[], bool]
    told: Callable[[Caller], Json] = lambda _: {}
    store: Store | None = None
    engine_up: Callable[[], bool] = lambda: True
    learned: Callable[[], Sequence[Json]] = lambda: ()  # versions of the registry that are at work here
