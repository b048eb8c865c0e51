"""Who may call what. A route that is not in ACCESS is for admins only: a new one is closed until somebody opens it."""

import time
from collections.abc import Awaitable, Callable, Mapping
from math import ceil
from typing import Final

import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.requests import Request

from service.api.deps import Api
from service.api.errors import Denied, RateLimited
from service.api.strangers import GUESSABLE_CHARS, Strangers
from service.gate.exchange import Caller, Role

ANYBODY: Final = None
CALLS: Final = frozenset({Role.CLIENT, Role.ADMIN})
READS: Final = frozenset({Role.CLIENT, Role.OPERATOR, Role.ADMIN})
EXPLAINS: Final = frozenset({Role.OPERATOR, Role.MODERATOR, Role.ADMIN})  # scores tell an attacker how to pass
REVIEWS: Final = frozenset({Role.MODERATOR, Role.ADMIN})
OPERATES: Final = frozenset({Role.OPERATOR, Role.ADMIN})
ACCESS: Final[Mapping[str, frozenset[Role] | None]] = {
    "/health/live": ANYBODY,
    "/health/ready": ANYBODY,
    "/v1/chat/completions": CALLS,
    "/v1/completions": CALLS,
    "/v1/responses": CALLS,
    "/v1/embeddings": CALLS,
    "/v1/moderations": CALLS,
    "/v1/explain": EXPLAINS,
    "/v1/feedback": CALLS,
    "/v1/appeals": CALLS,
    "/v1/appeals/{appeal}": CALLS,
    "/v1/review/counts": REVIEWS,
    "/v1/review/next": REVIEWS,
    "/v1/review/items/{item}": REVIEWS,
    "/v1/review/items/{item}/reveal": REVIEWS,
    "/v1/review/decide": REVIEWS,
    "/v1/review/undo": REVIEWS,
    "/v1/review/skip": REVIEWS,
    "/v1/review/heartbeat": REVIEWS,
    "/v1/review/release": REVIEWS,
    "/v1/review/export": OPERATES,
    "/v1/review/candidates": OPERATES,
    "/v1/review/items": OPERATES,
    "/v1/learning/scores": OPERATES,
    "/v1/learning/datasets": OPERATES,
    "/v1/learning/runs": OPERATES,
    "/v1/learning/models": OPERATES,
    "/v1/learning/models/{name}/{version}": OPERATES,
    "/v1/learning/models/{name}/{version}/shadow": OPERATES,
    "/v1/learning/models/{name}/{version}/stage": OPERATES,
    "/v1/learning/models/{name}/rollback": OPERATES,
    "/v1/guards": READS,
    "/v1/models": READS,
    "/v1/models/{model:path}": READS,
    "/v1/coverage": READS,
    "/openapi.json": frozenset(Role),
    "/metrics": OPERATES,
}
LONGEST_TOKEN: Final = 512


def authorize(api: Api) -> Callable[[Request], Awaitable[None]]:
    """The dependency of every route: key -> caller, the caller's role, the rate limit of the key.

    An address that sent too many wrong keys is told to wait; a known key that nobody can guess is good all the same.

    Raises (in the returned function):
        Denied, RateLimited
    """
    rates = MovingWindowRateLimiter(MemoryStorage())
    strangers = Strangers(api.settings.wrong_keys_per_minute)

    async def authorized(request: Request) -> None:
        path = request.scope["route"].path
        roles = ACCESS.get(path, frozenset({Role.ADMIN}))
        if roles is ANYBODY:
            return
        caller = await _caller(api, strangers, request)
        request.state.caller = caller
        structlog.contextvars.bind_contextvars(key_id=caller.key_id)
        if caller.role not in roles:
            allowed = ", ".join(sorted(roles))
            raise Denied(f"A key of role {caller.role} may not do this. Use one of: {allowed}.", 403)
        if path.startswith("/v1/"):
            await _count(api, rates, request, caller)

    return authorized


async def _caller(api: Api, strangers: Strangers, request: Request) -> Caller:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Denied("No API key. Send it as: Authorization: Bearer KEY")
    address = request.client.host if request.client else ""
    wait_s = strangers.wait_s(address)
    guessable = wait_s > 0 and len(token) < GUESSABLE_CHARS
    caller = await api.keys.lookup(token) if len(token) <= LONGEST_TOKEN and not guessable else None
    if caller is not None:
        return caller
    api.metrics.wrong_keys.labels("limited" if wait_s else "denied").inc()
    if wait_s:
        raise RateLimited(strangers.per_minute, wait_s, "wrong keys")
    strangers.wrong(address)
    raise Denied("The API key is unknown or was revoked. Ask the operator for another.")


async def _count(api: Api, rates: MovingWindowRateLimiter, request: Request, caller: Caller) -> None:
    """This gateway's share of the key's rate; what is told is the whole."""
    per_minute, replicas = caller.requests_per_minute or api.settings.requests_per_minute, api.settings.rate_replicas
    rate = RateLimitItemPerMinute(ceil(per_minute / replicas))
    allowed = await rates.hit(rate, caller.key_id)
    window = await rates.get_window_stats(rate, caller.key_id)
    reset_s = max(ceil(window.reset_time - time.time()), 1)
    request.state.headers = {
        "x-ratelimit-limit-requests": str(per_minute),
        "x-ratelimit-remaining-requests": str(min(max(window.remaining, 0) * replicas, per_minute)),
        "x-ratelimit-reset-requests": f"{reset_s}s",
    }
    if not allowed:
        api.metrics.rate_limited.inc()
        raise RateLimited(per_minute, reset_s)
