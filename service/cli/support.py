"""`sluicegate support`: a bundle to send with a question."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command()(support)


def support(
    out: Annotated[Path, typer.Option(help="the .tar.gz to write")] = Path("sluicegate-support.tar.gz"),
    url: Annotated[str, typer.Option(help="a running gateway, for its metrics")] = "http://127.0.0.1:8080",
    key: Annotated[str, typer.Option(envvar="SLUICEGATE_ADMIN_KEY", help="a key of role operator or admin")] = "",
) -> None:
    """Write a support bundle: the doctor's findings, settings without secrets, versions, metrics. No texts, no keys.

    Example: sluicegate support --out support.tar.gz
    """
    from service.cli.opened import refuse, told
    from service.operating.bundle import bundle

    if out.exists():
        refuse(f"{out} is there already; choose another --out")
    try:
        names = told(bundle(out, _metrics(url, key)))
    except FileExistsError:
        refuse(f"{out} is there already; choose another --out")
    typer.echo(f"{out}: {', '.join(names)}. Look through it before you send it.")


def _metrics(url: str, key: str) -> str:
    from service.operating.figures import exposition

    try:
        return exposition(url, key)
    except (OSError, ValueError) as error:
        return f"# not to be had: {type(error).__name__}\n"
