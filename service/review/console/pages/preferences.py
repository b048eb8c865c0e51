"""What a reviewer chooses for themselves."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from service.review.console.auth import visitor
from service.review.console.care import COVERED, coverable
from service.review.console.keyboard import MODES
from service.review.console.view import render
from service.review.users import set_preferences


async def form(request: Request) -> Response:
    chosen = {"keys": "on", "cover": COVERED, "opt_out": ()} | visitor(request).user.preferences
    return render(request, "preferences.html", title="Preferences", chosen=chosen, modes=MODES, categories=coverable())


async def save(request: Request) -> Response:
    user, given = visitor(request).user, await request.form()
    known, keys = coverable(), str(given.get("keys", "on"))
    new = {name: [c for c in known if c in given.getlist(name)] for name in ("cover", "opt_out")}
    preferences = {**user.preferences, **new, "keys": keys if keys in MODES else "on"}
    await set_preferences(request.app.state.console.store, user.login, preferences)
    return RedirectResponse("/preferences?said=saved", 303)
