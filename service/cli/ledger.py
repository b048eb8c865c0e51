"""`sluicegate ledger`: the record of what was asked, judged, released and withheld."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from service.cli import keeping

app = typer.Typer(help="The ledger: tables, state, checks, erasure.", no_args_is_help=True, add_completion=False)
app.add_typer(keeping.hold_app, name="hold")
for verb in (keeping.erase, keeping.retain, keeping.rekey):
    app.command()(verb)
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text")]


@app.command()
def migrate() -> None:
    """Bring the database's tables to this version's shape. SQLite is migrated at every start by itself.

    Example: SLUICEGATE_DATABASE_URL=postgresql+asyncpg://user:password@host/sluicegate sluicegate ledger migrate
    """
    from service.cli.opened import told
    from service.ledger.ledger import open_store
    from service.settings import Settings

    async def work() -> None:
        store = open_store(Settings())
        try:
            await store.migrate()
        finally:
            await store.close()
        typer.echo("the tables are of this version.")

    told(work())


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show what the spool holds and what the database holds.

    Example: sluicegate ledger status --json
    """
    from service.cli.opened import opened, told
    from service.ledger.desk import DecisionRow
    from service.ledger.models import ApiKey, Content, Exchange, VerdictRow
    from service.ledger.verify import read_file, spool_files

    async def work() -> None:
        async with opened() as (store, settings):
            files = [read_file(path, running)[0] for path, running in spool_files(settings.spool)]
            rows = await store.count(Exchange, VerdictRow, Content, DecisionRow, ApiKey)
            open_items = await store.review_open()
        if as_json:
            typer.echo(json.dumps({"spool": [asdict(f) for f in files], "rows": rows, "review_open": open_items}))
            return
        for f in files:
            owner = "in use" if f.alive else "left by a process that ended: shipped by the next start"
            typer.echo(f"spool     {f.name}  {f.records} events, {f.size_bytes} bytes, {owner}")
        typer.echo("database  " + ", ".join(f"{count} {table}" for table, count in rows.items()))
        typer.echo(f"review    {open_items} open")

    told(work())


@app.command()
def verify(as_json: AsJson = False) -> None:
    """Check the ledger: checksums of the spool, spool against database, every text opens. Exit code 1 on a fault.

    Example: sluicegate ledger verify
    """
    from service.cli.opened import opened, told
    from service.ledger.verify import verify as examine

    async def work() -> bool:
        async with opened() as (store, settings):
            finding = await examine(settings.spool, store)
        if as_json:
            typer.echo(json.dumps(asdict(finding) | {"faults": finding.faults}))
            return not finding.faults
        typer.echo(f"{sum(f.records for f in finding.files)} events in {len(finding.files)} spool files")
        for f in finding.files:
            if f.tail_bytes and not f.alive:
                typer.echo(f"{f.name}: the last {f.tail_bytes} bytes are a record cut short")
        typer.echo(f"{len(finding.unshipped)} exchanges not in the database yet, {len(finding.orphans)} never closed")
        typer.echo(f"audit log up to {finding.audit_head}")
        for fault in finding.faults:
            typer.echo(f"fault: {fault}")
        return not finding.faults

    if not told(work()):
        raise typer.Exit(1)


@app.command()
def ship(timeout_s: Annotated[float, typer.Option(help="give up after so many seconds")] = 60) -> None:
    """Carry what ended processes left in the spool into the database now. Running gateways do it themselves.

    Example: sluicegate ledger ship
    """
    from service.cli.opened import refuse, told
    from service.ledger.ledger import SqlLedger
    from service.settings import Settings

    async def work() -> None:
        ledger = SqlLedger(Settings())
        await ledger.start()
        done = await ledger.drain(timeout_s)
        stats = await ledger.stats()
        await ledger.stop(0)
        if not done:
            refuse(f"{stats.records} events are still in the spool; is the database reachable?")
        typer.echo(f"{stats.shipped_exchanges} exchanges shipped.")

    told(work())


@app.command()
def replay(
    files: Annotated[list[Path], typer.Argument(help="files of a spool: *.log, *.damaged, refused.aside")],
    close_open: Annotated[
        bool, typer.Option("--close-open", help="close what has no end here as interrupted; not for a running gateway")
    ] = False,
) -> None:
    """Read spool files from elsewhere into the database. What is stored already stays as it is.

    Example: sluicegate ledger replay saved/spool/*.log --close-open
    """
    from service.cli.opened import opened, refuse, told
    from service.ledger.replay import replay as read_in

    async def work() -> None:
        async with opened() as (store, _):
            found = await read_in(store, files, close_open)
        typer.echo(f"{found.stored} exchanges stored, {found.known} known, {found.open} without an end left alone")
        if found.damaged_bytes or found.refused:
            refuse(f"{found.damaged_bytes} damaged bytes, {found.refused} exchanges the database cannot take")

    told(work())


@app.command()
def backup(folder: Annotated[Path, typer.Argument(help="a new folder; two files are written into it")]) -> None:
    """Back up the database in use: ledger.backup, and apart from it keys.backup, without which no text can be read.

    Keep keys.backup no longer than an erasure may take to reach every copy. The master key is not in it.

    Example: sluicegate ledger backup backups/monday
    """
    from service.cli.opened import opened, told
    from service.ledger.backup import backup as write

    async def work() -> None:
        async with opened() as (store, _):
            ledger, keys = await write(store, folder)
        typer.echo(f"{ledger}\n{keys} (keep it apart, and not for long)")

    told(work())


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="a folder that `ledger backup` wrote")],
    keys: Annotated[Path | None, typer.Option(help="a newer keys.backup: what was erased since stays erased")] = None,
) -> None:
    """Fill an empty database from a backup. The master key must be that of the installation it was made of.

    Example: SLUICEGATE_HOME=var-new sluicegate ledger restore backups/monday --keys backups/friday/keys.backup
    """
    from service.cli.opened import told
    from service.ledger.backup import KEYS_FILE, LEDGER_FILE
    from service.ledger.backup import restore as fill
    from service.ledger.ledger import open_store
    from service.settings import Settings

    async def work() -> None:
        store = open_store(Settings())
        try:
            lost = await fill(store, folder / LEDGER_FILE, keys or folder / KEYS_FILE)
            await store.ready()
        finally:
            await store.close()
        typer.echo(f"restored; {lost} texts had no key and are gone. Check it: sluicegate ledger verify")

    told(work())
