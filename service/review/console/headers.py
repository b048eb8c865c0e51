"""What every response says, errors too; and what is refused before anything reads it. Pure ASGI."""

from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
ALWAYS: Final = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # `no-referrer` would take the Origin of our own forms away
    (b"cache-control", b"no-store"),
    (b"permissions-policy", b"camera=(), clipboard-read=(), display-capture=(), geolocation=(), microphone=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-robots-tag", b"noindex"),
]
_OURS: Final = frozenset(name for name, _ in ALWAYS)
MOST_BYTES: Final = 1_000_000  # of a form


class Sealed:
    """`app` with the headers of `ALWAYS`; longer forms than `MOST_BYTES`, and those of unknown length, are refused."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                theirs = [(k, v) for k, v in message["headers"] if k.lower() not in _OURS]
                message["headers"] = [*theirs, *ALWAYS]
            await send(message)

        if scope["method"] == "POST" and not _acceptable(dict(scope["headers"])):
            await PlainTextResponse("The form is too long.", 413)(scope, receive, sending)
            return
        await self._app(scope, receive, sending)


def _acceptable(headers: dict[bytes, bytes]) -> bool:
    length = headers.get(b"content-length", b"")
    return length.isdigit() and int(length) <= MOST_BYTES
