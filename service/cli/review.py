"""`sluicegate review`: what was flagged, looked at and decided from the terminal."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from service.cli import reviewers

if TYPE_CHECKING:
    from service.review.queue import Case

app = typer.Typer(help="Review what was flagged.", no_args_is_help=True, add_completion=False)
app.add_typer(reviewers.app, name="users")
What = Literal["guards", "preferences", "preferred"]  # as in service.review.feeds
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text")]
ExchangeId = Annotated[str, typer.Argument(metavar="EXCHANGE", help="an exchange id, or the beginning of one")]


@app.command("list")
def list_(
    as_json: AsJson = False,
    open_only: Annotated[bool, typer.Option("--open", help="only what nobody has decided, oldest first")] = False,
    limit: Annotated[int, typer.Option(min=1, help="at most so many")] = 50,
) -> None:
    """Show the queue: one line an exchange, no text.

    Example: sluicegate review list --open
    """
    from dataclasses import asdict

    from service.cli.opened import opened, told
    from service.review.queue import items
    from service.review.render import line

    async def work() -> None:
        async with opened() as (store, _):
            for item in await items(store, open_only, limit):
                typer.echo(json.dumps(asdict(item)) if as_json else line(item))

    told(work())


@app.command()
def show(exchange: ExchangeId, as_json: AsJson = False) -> None:
    """Show one exchange: its texts, what was released and withheld, verdicts, decisions. Be ready for harmful text.

    Example: sluicegate review show exc_4f2a
    """
    from service.cli.opened import opened, told
    from service.ledger.audit import record
    from service.review.queue import case
    from service.review.render import shown

    async def work() -> None:
        async with opened() as (store, _):
            found = await case(store, exchange)
            await record(store, "cli", "read", found.exchange.id)
        typer.echo(json.dumps(_plain(found)) if as_json else shown(found))

    told(work())


@app.command()
def decide(
    exchange: ExchangeId,
    reviewer: Annotated[str, typer.Option(envvar="SLUICEGATE_REVIEWER", help="your name")],
    input_: Annotated[str | None, typer.Option("--input", help="what was asked: harmful or ok")] = None,
    output: Annotated[str | None, typer.Option(help="what was generated: harmful or ok")] = None,
    action: Annotated[str | None, typer.Option(help="the gate was: correct, over_block, missed or too_late")] = None,
    category: Annotated[list[str] | None, typer.Option(help="what kind of harm; may be given again")] = None,
    note: Annotated[str, typer.Option(help="why; stored sealed")] = "",
) -> None:
    """Decide. Deciding again supersedes your own earlier decision; both stay on record.

    Example: sluicegate review decide exc_4f2a --input harmful --action correct --category harm --reviewer ada
    """
    from service.cli.opened import opened, told
    from service.review.decisions import Decision
    from service.review.decisions import decide as record

    decision: Any = (reviewer, input_, output, action, tuple(category or ()), note)

    async def work() -> None:
        async with opened() as (store, _):
            typer.echo(await record(store, exchange, Decision(*decision)))

    told(work())


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="the file to write; it holds plain text, keep it safe")],
    what: Annotated[What, typer.Option(help="judged texts, ranked pairs, or answers of reviewers")] = "guards",
) -> None:
    """Write what reviewers decided as training data; one JSON object a line.

    Example: sluicegate review export --what preferences --out pairs.jsonl
    """
    from service.cli.opened import opened, told
    from service.review.export import note
    from service.review.feeds import FEEDS

    async def work() -> int:
        async with opened() as (store, _):
            made = [row async for row in FEEDS[what](store)]
            data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made).encode()
            out.touch(mode=0o600)
            out.write_bytes(data)
            await note(store, "cli", what, made, data)
        return len(made)

    typer.echo(f"{told(work())} examples in {out}")


@app.command()
def candidates(
    prompt: Annotated[str, typer.Argument(help="what the model is asked")],
    key: Annotated[str, typer.Option(envvar="KEY", help="a client key of the running service")],
    url: Annotated[str, typer.Option(help="the running service")] = "http://127.0.0.1:8080",
    count: Annotated[int, typer.Option(min=2, max=4, help="how many answers")] = 3,
    model: Annotated[list[str] | None, typer.Option(help="a model or adapter; may be given again")] = None,
) -> None:
    """Draw answers through the gate and put them up for ranking, anonymous and shuffled.

    Example: sluicegate review candidates "Why do cats purr?" --count 3
    """
    from service.cli.opened import opened, told
    from service.review.drawing import draw, on_record
    from service.review.rankings import ask

    async def work() -> None:
        drawn = await draw(url, key, prompt, count, model or ())
        async with opened() as (store, _):
            await on_record(store, drawn)
            typer.echo(await ask(store, prompt, drawn, "cli"))

    told(work())


@app.command()
def gold(
    exchange: ExchangeId,
    input_: Annotated[str | None, typer.Option("--input", help="the answer expected: harmful or ok")] = None,
    output: Annotated[str | None, typer.Option(help="the answer expected: harmful or ok")] = None,
    action: Annotated[str | None, typer.Option(help="the answer expected: correct, over_block, missed, ...")] = None,
) -> None:
    """Mix an exchange whose answer is known into the reviewers' work, so that their accuracy can be told.

    Example: sluicegate review gold exc_4f2a --input harmful --action correct
    """
    from service.cli.opened import opened, told
    from service.review.decisions import check_said
    from service.review.intake import make_gold
    from service.review.queue import case

    async def work() -> None:
        check_said(input_, output, action, ())
        said = {"input": input_, "output": output, "action": action}
        async with opened() as (store, _):
            exchange_id = (await case(store, exchange)).exchange.id
            expected = {name: value for name, value in said.items() if value}
            typer.echo(await make_gold(store, exchange_id, expected, "cli"))

    told(work())


def _plain(found: "Case") -> dict[str, Any]:
    def columns(row: Any) -> dict[str, Any]:
        return {column.name: getattr(row, column.name) for column in row.__table__.columns}

    return {
        "exchange": columns(found.exchange),
        "verdicts": [columns(v) for v in found.verdicts],
        "deliveries": [columns(d) for d in found.deliveries],
        "decisions": [columns(d) for d in found.decisions],
        "texts": found.texts,
    }
