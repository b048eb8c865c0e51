"""`sluicegate review users`: who may log in to the console."""

import json
import sys
from typing import Annotated

import typer

app = typer.Typer(
    help="Who may log in. Example: sluicegate review users list",
    no_args_is_help=True,
    add_completion=False,
)
Login = Annotated[str, typer.Argument(metavar="LOGIN", help="a user's login")]
Roles = Annotated[
    list[str] | None,
    typer.Option("--role", help="moderator, lead, operator, auditor, admin, restricted; may be given again"),
]


@app.command()
def create(login: Login, role: Roles = None, name: Annotated[str, typer.Option(help="as shown")] = "") -> None:
    """Make a user. The password is read from standard input, or asked for on a terminal.

    The role `restricted` is the clearance for child-exploitation items, beside another role.

    Example: sluicegate review users create ada --role moderator --role lead
    """
    from service.cli.opened import opened, told
    from service.review.users import create_user

    async def work() -> None:
        async with opened() as (store, _):
            await create_user(store, login, _password(), role or ["moderator"], name)
        typer.echo(f"{login} may log in.")

    told(work())


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False) -> None:
    """Show all users, those disabled too.

    Example: sluicegate review users list
    """
    from service.cli.opened import opened, told
    from service.review.render import flat, moment
    from service.review.users import list_users

    async def work() -> None:
        async with opened() as (store, _):
            for user in await list_users(store):
                roles = sorted(user.roles)
                plain = {"login": user.login, "name": user.name, "roles": roles, "disabled_at": user.disabled_at}
                state = f"disabled {moment(user.disabled_at)}" if user.disabled_at else "active"
                typer.echo(
                    json.dumps(plain)
                    if as_json
                    else flat(f"{user.login:20}  {','.join(roles):30}  {state}  {user.name}")
                )

    told(work())


@app.command()
def roles(login: Login, role: Roles = None) -> None:
    """Give a user these roles in place of those they had.

    Example: sluicegate review users roles ada --role moderator --role restricted
    """
    from service.cli.opened import opened, told
    from service.review.users import set_roles

    async def work() -> None:
        async with opened() as (store, _):
            await set_roles(store, login, role or [])
        typer.echo(f"{login}: {', '.join(sorted(role or []))}.")

    told(work())


@app.command()
def disable(login: Login) -> None:
    """End a user's sessions and let them in no more. What they decided stays.

    Example: sluicegate review users disable ada
    """
    from service.cli.opened import opened, told
    from service.review.users import disable_user

    async def work() -> None:
        async with opened() as (store, _):
            await disable_user(store, login)
        typer.echo(f"{login} may log in no more.")

    told(work())


@app.command()
def password(login: Login) -> None:
    """Set a new password, read from standard input or asked for; ends their sessions and any lock.

    Example: openssl rand -base64 18 | tee /dev/tty | sluicegate review users password ada
    """
    from service.cli.opened import opened, told
    from service.review.users import set_password

    async def work() -> None:
        async with opened() as (store, _):
            await set_password(store, login, _password())
        typer.echo(f"{login} has a new password.")

    told(work())


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\n")
