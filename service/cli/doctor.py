"""`sluicegate doctor`: is everything there that a gateway needs?"""

import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(as_json: Annotated[bool, typer.Option("--json", help="one JSON object a finding")] = False) -> None:
    """Check settings, disk, policy, guards, database, clock, spool, engine and a gateway that runs; change nothing.

    Each line is ok, warn or fail, with what to do. Exit code 1 when something fails.

    Example: SLUICEGATE_POLICY=policy.yaml sluicegate doctor
    """
    import asyncio
    from dataclasses import asdict

    from service.operating.doctor import examine

    async def work() -> bool:
        well = True
        async for found in examine():
            well = well and found.level != "fail"
            if as_json:
                typer.echo(json.dumps(asdict(found)))
                continue
            colour = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}[found.level]
            typer.echo(f"{typer.style(f'{found.level:4}', colour)}  {found.what:10}  {found.said}")
            if found.to_do:
                typer.echo(f"      {'':10}  -> {found.to_do}")
        return well

    if not asyncio.run(work()):
        raise typer.Exit(1)
