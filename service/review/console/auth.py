"""Who is at the console, and what they may open. A page that is not in ACCESS is for admins only."""

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from service.review.reviewer import Reviewer, Role
from service.review.sessions import session_user
from service.review.users import User
from service.settings import Settings

Page = Callable[[Request], Awaitable[Response]]

COOKIE: Final = "sluicegate_console"
ANYBODY: Final = None
EVERYBODY: Final = frozenset({Role.MODERATOR, Role.LEAD, Role.OPERATOR, Role.AUDITOR, Role.ADMIN})
DECIDES: Final = frozenset({Role.MODERATOR, Role.LEAD, Role.ADMIN})
LOOKS: Final = DECIDES | {Role.AUDITOR}
LEADS: Final = frozenset({Role.LEAD, Role.ADMIN})
ADMINS: Final = frozenset({Role.ADMIN})
OPERATES: Final = frozenset({Role.OPERATOR, Role.ADMIN})
ANSWERS: Final = LEADS | {Role.OPERATOR, Role.AUDITOR}
ACCESS: Final[Mapping[str, frozenset[Role] | None]] = {
    "/health": ANYBODY,
    "/login": ANYBODY,
    "/oidc": ANYBODY,
    "/oidc/back": ANYBODY,
    "/logout": EVERYBODY,
    "/password": EVERYBODY,
    "/": EVERYBODY,
    "/keys": EVERYBODY,
    "/preferences": EVERYBODY,
    "/policies": EVERYBODY,
    "/next": DECIDES,
    "/break": DECIDES,
    "/undo": DECIDES,
    "/beat": DECIDES,
    "/queue": LOOKS,
    "/search": LOOKS,
    "/voices": LOOKS,
    "/rankings": DECIDES,
    "/rankings/undo": DECIDES,
    "/rankings/{task_id}": DECIDES,
    "/items/{item_id}": LOOKS,
    "/items/{item_id}/reveal": LOOKS,
    "/items/{item_id}/comment": LOOKS,
    "/items/{item_id}/claim": DECIDES,
    "/items/{item_id}/release": DECIDES,
    "/items/{item_id}/decide": DECIDES,
    "/items/{item_id}/skip": DECIDES,
    "/items/{item_id}/escalate": DECIDES,
    "/items/{item_id}/adjudicate": LEADS,
    "/quality": ANSWERS,
    "/models": ANSWERS,
    "/models/{name}/{version}": ANSWERS,
    "/models/{name}/{version}/stage": OPERATES,
    "/models/{name}/rollback": OPERATES,
    "/exports": OPERATES,
    "/audit": ADMINS | {Role.AUDITOR},
    "/users": ADMINS,
    "/users/{login}": ADMINS,
}


class Denied(Exception):
    """Somebody may not do this. The message says why."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks; `token` is that of their session, or of the login form."""

    user: User
    token: str

    @property
    def reviewer(self) -> Reviewer:
        return self.user.reviewer


def admitted(path: str, page: Page) -> Page:
    """`page` for those whom ACCESS lets in; every POST with the console's own origin and the session's own mark."""
    roles = ACCESS.get(path, ADMINS)

    async def admit(request: Request) -> Response:
        token = request.cookies.get(COOKIE, "")
        if request.method == "POST":
            await _own_form(request, token)
        if roles is ANYBODY:
            return await page(request)
        user = await session_user(request.app.state.console.store, token) if token else None
        if user is None:
            return _to("/login", request)
        request.state.visitor = Visitor(user, token)
        if user.preferences.get("change_password") and path not in ("/password", "/logout"):
            return _to("/password", request)
        if not user.roles & roles:
            raise Denied(f"This page is for the roles {', '.join(sorted(roles))}. Ask an admin if you need it.")
        return await page(request)

    return admit


def visitor(request: Request) -> Visitor:
    """Who asks, on a page that is not for anybody."""
    found: Visitor = request.state.visitor
    return found


def mark(request: Request, token: str) -> str:
    """What a form carries to show that it is ours: the cookie's keyed hash."""
    found: str = request.app.state.console.store.vault.keyed_hash("csrf", token)
    return found


def set_cookie(response: Response, settings: Settings, token: str) -> None:
    response.set_cookie(COOKIE, token, path="/", httponly=True, samesite="strict", secure=settings.console_https)


def new_token() -> str:
    """For the login form, before there is a session."""
    return secrets.token_urlsafe(32)


async def _own_form(request: Request, token: str) -> None:
    origin = request.headers.get("origin", "")
    if urlsplit(origin).netloc != request.headers.get("host"):
        raise Denied("This form was not sent from the console itself. Open the console and try again there.")
    given = request.headers.get("x-csrf-token") or str((await request.form()).get("csrf", ""))
    if not token or not hmac.compare_digest(mark(request, token).encode(), given.encode(errors="replace")):
        raise Denied("This form is from another session. Reload the page and send it again.")


def _to(path: str, request: Request) -> Response:
    """A redirect, of the whole page when a fragment was asked for."""
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={"hx-redirect": path})
    return RedirectResponse(path, 303)
