"""`sluicegate console`: the review console, in a process of its own."""

import asyncio
import socket
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from service.ledger.store import Store
    from service.settings import Settings


def register(app: typer.Typer) -> None:
    app.command()(console)


def console(
    port: Annotated[int | None, typer.Option(help="port of the console; 0 takes a free one")] = None,
) -> None:
    """Serve the review console to browsers. Ctrl-C ends it; `sluicegate serve` starts one beside the gateway.

    At the very first start it makes a user and prints a one-time password. It listens on loopback unless
    SLUICEGATE_CONSOLE_HOST says otherwise: put TLS in front of it then, and set SLUICEGATE_CONSOLE_HTTPS.

    Example: sluicegate console --port 8081
    """
    from service.cli.opened import told

    told(_console(port))


async def _console(port: int | None) -> None:
    import uvicorn

    from service.cli.opened import opened
    from service.review.console import create_console
    from service.telemetry.logging import configure

    async with opened() as (store, settings):
        configure(settings.log_level)
        listener = _listener(settings, settings.console_port if port is None else port)
        made = await first_user(store)
        app = create_console(store, settings)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not serving.done():  # noqa: ASYNC110  # uvicorn gives no event for it
            await asyncio.sleep(0.02)
        _greet(listener, made)
        await serving


async def first_user(store: "Store") -> tuple[str, str] | None:
    """Login and one-time password of the user made at the very first start; None at later ones."""
    from service.review.console.pages.users import one_time_password
    from service.review.reviewer import ReviewError
    from service.review.users import create_user, list_users, set_preferences

    if await list_users(store):
        return None
    login, password = "admin", one_time_password()
    try:
        await create_user(store, login, password, ("admin", "lead", "moderator"), by="first start")
    except ReviewError:  # another console was faster
        return None
    await set_preferences(store, login, {"change_password": True})
    return login, password


def _listener(settings: "Settings", port: int) -> socket.socket:
    from service.cli.opened import refuse

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.console_host, port))
    except OSError as error:
        listener.close()
        refuse(
            f"the console cannot listen on {settings.console_host}:{port} ({error.strerror}). Stop what uses it, "
            "choose another SLUICEGATE_CONSOLE_PORT, or set SLUICEGATE_CONSOLE=false"
        )
    return listener


def _greet(listener: socket.socket, made: tuple[str, str] | None) -> None:
    host, port = listener.getsockname()[:2]
    lines = [f"The review console is ready: http://{host}:{port}"]
    if made:
        lines.append(f"  login {made[0]}, one-time password (shown this once): {made[1]}")
    else:
        lines.append("  logins: as made earlier; another: sluicegate review users create")
    print("\n".join(lines), file=sys.stderr, flush=True)
