"""Who may log in, for admins."""

import secrets

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from service.review.console.auth import visitor
from service.review.console.view import render
from service.review.reviewer import ReviewError, Role
from service.review.users import create_user, disable_user, list_users, set_password, set_preferences, set_roles


async def page(request: Request, made: tuple[str, str] | None = None, fault: str = "") -> Response:
    """`made`: login and one-time password of a user, shown this once."""
    users = await list_users(request.app.state.console.store)
    status = 422 if fault else 200
    return render(request, "users.html", status, title="Users", users=users, roles=list(Role), made=made, fault=fault)


async def create(request: Request) -> Response:
    store, by, given = request.app.state.console.store, visitor(request).user.login, await request.form()
    login, password = str(given.get("login", "")).strip(), one_time_password()
    roles = [str(r) for r in given.getlist("role")]
    try:
        await create_user(store, login, password, roles, str(given.get("name", ""))[:100], by)
    except ReviewError as error:
        return await page(request, fault=str(error))
    await set_preferences(store, login, {"change_password": True})
    return await page(request, (login, password))


async def change(request: Request) -> Response:
    """Roles, a new one-time password, or the end of an account."""
    store, by, given = request.app.state.console.store, visitor(request).user.login, await request.form()
    login, what = request.path_params["login"], str(given.get("what", ""))
    try:
        if what == "password":
            await set_password(store, login, password := one_time_password(), by)
            found = next(u for u in await list_users(store) if u.login == login)
            await set_preferences(store, login, {**found.preferences, "change_password": True})
            return await page(request, (login, password))
        if what == "disable" and login == by:
            raise ReviewError("nobody disables themselves; ask another admin")
        if what == "disable":
            await disable_user(store, login, by)
        elif what == "roles":
            await set_roles(store, login, [str(r) for r in given.getlist("role")], by)
    except ReviewError as error:
        return await page(request, fault=str(error))
    return RedirectResponse("/users?said=saved", 303)


def one_time_password() -> str:
    """To be changed at the first login."""
    return secrets.token_urlsafe(12)
