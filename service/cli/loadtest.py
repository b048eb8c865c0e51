"""`sluicegate loadtest`: what a running service bears."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from service.operating.load import Load


def register(app: typer.Typer) -> None:
    app.command()(loadtest)


def loadtest(
    model: Annotated[str, typer.Argument(help="the model to ask, as /v1/models names it")],
    key: Annotated[str, typer.Option(envvar="SLUICEGATE_CLIENT_KEY", help="a client key; mind its rate limit")],
    url: Annotated[str, typer.Option(help="the gateway")] = "http://127.0.0.1:8080",
    streams: Annotated[int, typer.Option(min=1, help="requests at once, at most")] = 8,
    duration_s: Annotated[float, typer.Option("--seconds", min=0.1, help="how long new requests are sent")] = 30.0,
    rate: Annotated[float, typer.Option(min=0, help="requests begun a second; 0: as fast as answers come")] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="longest answer")] = 64,
    prompts: Annotated[Path | None, typer.Option(help="a file with a prompt a line; else a few harmless ones")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object at the end")] = False,
) -> None:
    """Stream chat answers from a running service and say how fast they came, and what else came.

    Exit code 1 when a request failed otherwise than by policy. What it asks is judged and recorded like anything else.

    Example: sluicegate loadtest smollm2-135m-instruct --streams 16 --seconds 60 --key sg-client-...
    """
    import asyncio

    from service.cli.opened import refuse
    from service.operating.load import PROMPTS, Plan, load

    asked = PROMPTS if prompts is None else tuple(filter(None, prompts.read_text(encoding="utf-8").splitlines()))
    if not asked:
        refuse(f"{prompts} holds no prompt")
    plan = Plan(url.rstrip("/"), key, model, streams, duration_s, rate, max_tokens, asked)

    def tell(found: "Load", passed_s: float) -> None:
        typer.echo(f"\r{passed_s:5.0f} s  {len(found.seen)} answered  {_said(found)}   ", nl=False, err=True)

    found = asyncio.run(load(plan, tell))
    typer.echo("", err=True)
    typer.echo(json.dumps(found.document()) if as_json else _table(found))
    if found.outcomes.keys() - {"ok", "content_filter"} or not found.seen:
        raise typer.Exit(1)


def _said(found: "Load") -> str:
    return ", ".join(f"{outcome} {count}" for outcome, count in found.outcomes.most_common())


def _table(found: "Load") -> str:
    told = found.document()

    def times(name: str) -> str:
        return "  ".join(f"{q} {s * 1000:.0f} ms" for q, s in told[name].items()) or "-"

    lines = (
        f"requests       {told['requests']} in {told['seconds']} s ({told['requests_per_s']} a second): {_said(found)}",
        f"first content  {times('first_content_s')}",
        f"whole answer   {times('answer_s')}",
        f"tokens         {told['tokens_per_s']} a second",
    )
    return "\n".join(lines)
