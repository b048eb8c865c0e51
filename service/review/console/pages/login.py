"""Coming in, going out, and the password."""

from typing import Final

from limits import RateLimitItemPerMinute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from service.review.console.auth import COOKIE, Denied, new_token, set_cookie, visitor
from service.review.console.oidc import Provider
from service.review.console.view import render
from service.review.identities import vouched
from service.review.reviewer import ReviewError
from service.review.sessions import close_session, open_session
from service.review.users import authenticate, set_password, set_preferences

_RATE: Final = RateLimitItemPerMinute(30)  # of one address; an account locks by itself much sooner


async def form(request: Request, failed: bool = False) -> Response:
    token = request.cookies.get(COOKIE) or new_token()
    request.state.token = token
    provider = request.app.state.console.provider
    values = {"title": "Log in", "failed": failed, "provider": provider.shown if provider else ""}
    response = render(request, "login.html", 401 if failed else 200, **values)
    set_cookie(response, request.app.state.console.settings, token)
    return response


async def enter(request: Request) -> Response:
    console, given = request.app.state.console, await request.form()
    await _attempt(request)
    user = await authenticate(console.store, str(given.get("login", ""))[:64], str(given.get("password", ""))[:256])
    if user is None:
        return await form(request, failed=True)
    response = RedirectResponse("/", 303)
    set_cookie(response, console.settings, await open_session(console.store, user))
    return response


async def begin(request: Request) -> Response:
    """To the identity provider."""
    return await _provider(request).begin(request)


async def come_back(request: Request) -> Response:
    """From the identity provider: a page that leads on, since a redirect from another site gets no strict cookie."""
    console, provider = request.app.state.console, _provider(request)
    await _attempt(request)
    found = await provider.finish(request)
    user = await vouched(console.store, found.issuer, found.subject, found.name, found.roles)
    response = render(request, "entered.html")
    set_cookie(response, console.settings, await open_session(console.store, user))
    return response


def _provider(request: Request) -> Provider:
    found: Provider | None = request.app.state.console.provider
    if found is None:
        raise HTTPException(404)
    return found


async def _attempt(request: Request) -> None:
    address = request.client.host if request.client else "?"
    if not await request.app.state.console.attempts.hit(_RATE, address):
        raise Denied("Too many attempts from this address. Wait a minute.")


async def leave(request: Request) -> Response:
    await close_session(request.app.state.console.store, visitor(request).token)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE)
    return response


async def password_form(request: Request, fault: str = "") -> Response:
    return render(request, "password.html", 422 if fault else 200, title="Your password", fault=fault)


async def change_password(request: Request) -> Response:
    store, user, given = request.app.state.console.store, visitor(request).user, await request.form()
    old, new, again = (str(given.get(name, ""))[:256] for name in ("old", "new", "again"))
    if new != again:
        return await password_form(request, "The two new passwords differ.")
    if new == old or await authenticate(store, user.login, old) is None:
        return await password_form(request, "The old password is wrong, or the new one is the same.")
    try:
        await set_password(store, user.login, new, by=user.login)
    except ReviewError as error:
        return await password_form(request, str(error))
    await set_preferences(store, user.login, {**user.preferences, "change_password": False})
    return RedirectResponse("/login", 303)
