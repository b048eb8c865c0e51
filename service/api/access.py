"""One log line and one count a request. Pure ASGI: a middleware of the framework's own kind doubles a chunk's cost."""

import time
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.telemetry.metrics import Metrics

ALWAYS: Final = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
log = structlog.get_logger("service.access")


class Access:
    """Adds the headers that routes left in `state.headers` and the exchange's id, then logs and counts."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        structlog.contextvars.clear_contextvars()
        state: dict[str, Any] = scope.setdefault("state", {})
        started, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *ALWAYS, *_headers(state)]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            self._record(scope, state, status, time.perf_counter() - started)

    def _record(self, scope: Scope, state: dict[str, Any], status: int, elapsed_s: float) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.request_seconds.labels(method, route).observe(elapsed_s)
        level = "debug" if route.startswith("/health/") or route == "/metrics" else "info"
        outcome = state.get("outcome", "ok" if status < 400 else "error")
        getattr(log, level)(
            "request", method=method, route=route, status=status, duration_s=round(elapsed_s, 4), outcome=outcome
        )


def _headers(state: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    headers = dict(state.get("headers", {}))
    if "exchange_id" in state:
        headers["x-sluicegate-exchange"] = state["exchange_id"]
    return [(name.encode(), value.encode()) for name, value in headers.items()]
