"""`sluicegate keys`: who may call."""

import json
import time
from typing import Annotated

import typer

app = typer.Typer(help="API keys: make, list, revoke.", no_args_is_help=True, add_completion=False)
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object a line")]


@app.command()
def create(
    role: Annotated[str, typer.Option(help="client, moderator, operator or admin")] = "client",
    tenant: Annotated[str, typer.Option(help="whose traffic it is: policy and limits go by it")] = "default",
    name: Annotated[str, typer.Option(help="what the key is for")] = "",
    requests_per_minute: Annotated[
        int | None, typer.Option(help="rate limit; by default SLUICEGATE_REQUESTS_PER_MINUTE")
    ] = None,
) -> None:
    """Make a key. It is printed once, on stdout, and only its hash is stored.

    Example: sluicegate keys create --role client --tenant acme --name website
    """
    from service.cli.opened import opened, refuse, told
    from service.gate.exchange import Role
    from service.ledger.keys import KeyRing

    if role not in list(Role):
        refuse(f"role {role!r} is not known; it is one of: {', '.join(Role)}")

    async def work() -> None:
        async with opened() as (store, _):
            token, record = await KeyRing(store).create(tenant, Role(role), name, requests_per_minute)
        typer.echo(f"{record.id} for tenant {tenant}, role {role}. The key is shown this once:", err=True)
        typer.echo(token)

    told(work())


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Show all keys (not the secrets themselves), those revoked too.

    Example: sluicegate keys list --json
    """
    from service.cli.opened import opened, told
    from service.ledger.keys import KeyRecord, KeyRing
    from service.review.render import flat, moment

    def line(record: KeyRecord) -> str:
        ends = "revoked" if record.revoked_at and record.revoked_at <= time.time() else "ends"
        state = f"{ends} {moment(record.revoked_at)}" if record.revoked_at else f"since {moment(record.created_at)}"
        rate = f"{record.requests_per_minute}/min" if record.requests_per_minute else "default rate"
        return flat(f"{record.id}  {record.role:9}  {record.tenant:16}  {rate:12}  {state:27}  {record.name}")

    async def work() -> None:
        async with opened() as (store, _):
            for record in await KeyRing(store).list():
                plain = {field: getattr(record, field) for field in KeyRecord.__slots__}
                typer.echo(json.dumps(plain) if as_json else line(record))

    told(work())


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="the id that `keys list` shows")]) -> None:
    """End a key. Running gateways refuse it within 5 seconds.

    Example: sluicegate keys revoke key_0123456789abcdef
    """
    from service.cli.opened import opened, refuse, told
    from service.ledger.keys import KeyRing

    async def work() -> None:
        async with opened() as (store, _):
            if not await KeyRing(store).revoke(key_id):
                refuse(f"no live key {key_id}; the ids are in: sluicegate keys list")
        typer.echo(f"{key_id} is revoked.")

    told(work())


@app.command()
def rotate(
    key_id: Annotated[str, typer.Argument(help="the id that `keys list` shows")],
    overlap_s: Annotated[float, typer.Option("--overlap", min=0, help="seconds for which both keys are good")] = 86400,
) -> None:
    """Make a key like another one, which ends after the overlap. The new key is printed once, on stdout.

    Example: sluicegate keys rotate key_0123456789abcdef --overlap 3600
    """
    from service.cli.opened import opened, refuse, told
    from service.ledger.keys import KeyRing

    async def work() -> None:
        async with opened() as (store, _):
            made = await KeyRing(store).rotate(key_id, overlap_s)
        if made is None:
            refuse(f"no live key {key_id}; the ids are in: sluicegate keys list")
        token, record = made
        typer.echo(
            f"{record.id} takes the place of {key_id}, which ends in {overlap_s:.0f} s. Shown this once:", err=True
        )
        typer.echo(token)

    told(work())
