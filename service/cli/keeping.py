"""Verbs of `sluicegate ledger` for texts that must go, and texts that must not."""

from typing import Annotated

import typer

hold_app = typer.Typer(
    help="Legal holds. Example: sluicegate ledger hold --help",
    no_args_is_help=True,
    add_completion=False,
)


def erase(
    exchange: Annotated[str | None, typer.Argument(metavar="EXCHANGE", help="the whole exchange id")] = None,
    subject: Annotated[
        str | None, typer.Option(help="instead: all that an end user asked; the client's `user`")
    ] = None,
    tenant: Annotated[str, typer.Option(help="whose end user")] = "default",
    why: Annotated[str, typer.Option(help="for the tombstone; no text of users")] = "asked for",
) -> None:
    """Destroy the texts of an exchange and their keys, for good. Verdicts and lengths stay; a legal hold forbids it.

    A gateway that wrote it within the last 10 minutes may still have it, sealed, in its spool for that long. Backups of
    the database are reached if they leave out the table content_keys, as those of `ledger backup` do. Files of training
    data that have the texts are named, and so are datasets and models that learned from them.

    Example: sluicegate ledger erase exc_4f2a9c0de0b84d1b8f0e3a1c2b3d4e5f
    """
    from service.cli.opened import opened, refuse, told
    from service.ledger import erasure

    if (exchange is None) == (subject is None):
        refuse("say which exchange, or --subject and --tenant")

    async def work() -> erasure.Gone:
        async with opened() as (store, _):
            if subject is not None:
                return await erasure.erase_subject(store, tenant, subject, why=why)
            gone = await erasure.erase(store, exchange or "", why=why)
        if gone is None:
            refuse(f"no exchange {exchange} in the database; if it is recent, run: sluicegate ledger ship")
        return erasure.Gone([gone], [])

    found = told(work())
    for gone in found.erased:
        typer.echo(f"the texts of {gone.exchange_id} are gone.")
        for export in gone.exports:
            typer.echo(f"they are still in the export {export.id} ({export.kind}, sha256 {export.digest})")
        for digest in gone.datasets:
            typer.echo(f"the dataset {digest[:12]} had rows of it, and has no text for them from now on")
        for model in gone.models:
            typer.echo(f"{model} learned from it; to undo that: train without it, promote that, retire this one")
    for held in found.held:
        typer.echo(f"{held} is under legal hold and was left alone.")
    if subject is not None:
        typer.echo(f"{len(found.erased)} exchanges erased, {len(found.held)} held.")


def retain(
    days: Annotated[
        list[str] | None, typer.Option(help="CLASS=DAYS (flagged, sampled, restricted); may be given again")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="count only")] = False,
) -> None:
    """Erase texts that are older than their class is kept; what is under legal hold stays. For a daily job.

    By default: sampled 30 days, flagged and restricted 365.

    Example: sluicegate ledger retain --days flagged=180 --days sampled=14
    """
    from service.cli.opened import opened, refuse, told
    from service.ledger.erasure import KEPT_DAYS
    from service.ledger.erasure import retain as clear

    kept = dict(KEPT_DAYS)
    for given in days or ():
        name, _, number = given.partition("=")
        if name not in kept or not number.replace(".", "", 1).isdigit():
            refuse(f"{given!r}: say CLASS=DAYS, where CLASS is one of: {', '.join(kept)}")
        kept[name] = float(number)

    async def work() -> None:
        async with opened() as (store, _):
            for name, count in (await clear(store, kept, dry_run=dry_run)).items():
                typer.echo(f"{name:12} {count} {'would go' if dry_run else 'erased'} (kept {kept[name]:g} days)")

    told(work())


@hold_app.command()
def add(
    exchange: Annotated[str, typer.Argument(metavar="EXCHANGE", help="the whole exchange id")],
    why: Annotated[str, typer.Option(help="for the audit log; no text of users")] = "",
) -> None:
    """Keep an exchange whatever its age, and forbid its erasure.

    Example: sluicegate ledger hold add exc_4f2a9c0de0b84d1b8f0e3a1c2b3d4e5f --why "case 77"
    """
    _hold(exchange, True, why)


@hold_app.command()
def remove(
    exchange: Annotated[str, typer.Argument(metavar="EXCHANGE", help="the whole exchange id")],
    why: Annotated[str, typer.Option(help="for the audit log; no text of users")] = "",
) -> None:
    """End a legal hold; the next `ledger retain` erases what is too old.

    Example: sluicegate ledger hold remove exc_4f2a9c0de0b84d1b8f0e3a1c2b3d4e5f
    """
    _hold(exchange, False, why)


def _hold(exchange: str, on: bool, why: str) -> None:
    from service.cli.opened import opened, refuse, told
    from service.ledger.erasure import hold

    async def work() -> None:
        async with opened() as (store, _):
            if not await hold(store, exchange, on, why=why):
                refuse(f"no exchange {exchange} in the database; if it is recent, run: sluicegate ledger ship")
        typer.echo(f"{exchange} is {'under legal hold' if on else 'no longer under legal hold'}.")

    told(work())


def rekey() -> None:
    """Rotate the master key: wrap all keys of texts anew under the first of SLUICEGATE_MASTER_KEY; texts stay.

    Put the new key before the old ones, parted by a space, for every gateway and the console; then run this. The last
    key must stay, since identifiers are hashed with it. It may be run again at any time.

    Example: SLUICEGATE_MASTER_KEY="$(openssl rand -base64 32) $OLD_KEY" sluicegate ledger rekey
    """
    from service.cli.opened import opened, told
    from service.ledger.rekey import rekey as wrap_anew

    async def work() -> None:
        async with opened() as (store, _):
            typer.echo(f"{await wrap_anew(store, 'cli')} keys wrapped anew under {store.vault.master_id}.")

    told(work())
