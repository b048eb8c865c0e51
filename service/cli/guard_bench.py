"""`sluicegate guards bench`: how quick guards are, and what a cascade costs and brings."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from guards.evaluation.rows import Line


def register(app: typer.Typer) -> None:
    app.command()(bench)


def bench(
    guard: Annotated[list[str] | None, typer.Option(help="name of a guard; may be given again; default if not")] = None,
    file: Annotated[Path | None, typer.Option(help="guards file; that of SLUICEGATE_GUARDS if not given")] = None,
    labelled: Annotated[
        Path | None, typer.Option("--in", help="labelled JSONL (.gz too): recall and false alarms of a cascade on it")
    ] = None,
    lengths: Annotated[str, typer.Option(help="lengths of texts in tokens")] = "64,128,256,512,1024,2048",
    budget_s: Annotated[float, typer.Option(min=0, help="seconds of each measurement")] = 3.0,
    as_json: Annotated[bool, typer.Option("--json", help="figures as JSON")] = False,
) -> None:
    """Measure how quick guards are: latency and texts a second by length, alone and in batches of 32.

    Of a cascade also, on labelled lines: the share that goes to the second guard, what it costs, and recall and false
    positives at .5 of the first guard alone and of both.

    Example: sluicegate guards bench --guard default --guard careful --file guards.yaml --in labelled.jsonl
    """
    from guards.cascade import Cascade
    from guards.evaluation.rows import SetError, read
    from guards.evaluation.speed import cascade, speed
    from guards.guard import GuardError
    from guards.registry import build
    from service.cli.guards import specified

    try:
        words = _lengths(lengths)
        lines: list[Line] = read(labelled) if labelled else []
        names = guard or ["default"]
        found: dict[str, Any] = {}
        built = build(*specified(file), names)
        for name in names:
            one = built[name]
            found[name] = {"version": one.version, "digest": one.digest, "speed": speed(one, words, budget_s)}
            if lines and isinstance(one, Cascade):
                found[name]["cascade"] = cascade(one, lines)
    except (GuardError, SetError, ValueError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    print(json.dumps(found, indent=2) if as_json else "\n\n".join(_table(name, f) for name, f in found.items()))


def _lengths(given: str) -> list[int]:
    words = [int(n) if n.strip().isdigit() else 0 for n in given.split(",")]
    if not all(0 < n <= 100_000 for n in words):
        raise ValueError(f"--lengths {given}: numbers of tokens, such as 64,512")
    return words


def _table(name: str, found: dict[str, Any]) -> str:
    lines = [f"{name}  version {found['version']}  digest {found['digest'][:12]}"]
    columns = ("tokens", "p50_ms", "p99_ms", "alone_per_s", "batch_per_s", "texts")
    lines.append("".join(f"{column:>12}" for column in columns))
    lines += ["".join(f"{row[column]:>12}" for column in columns) for row in found["speed"]]
    if cascade := found.get("cascade"):
        share, why = cascade["escalated_share"], cascade["escalated"]
        lines.append(f"{share:.1%} of {cascade['texts']} texts go to the second guard ({_counts(why)})")
        first_ms, then_ms, both_ms = (cascade[f"{who}_ms"] for who in ("first", "then", "both"))
        lines.append(f"ms a text: first {first_ms}, second where asked {then_ms}, both {both_ms}")
        for category, row in cascade["categories"].items():
            for measure in ("recall", "false_positives"):
                lines.append(
                    f"  {category:16} {measure:16} {_share(row['first'][measure])} -> {_share(row['both'][measure])}"
                )
    return "\n".join(lines)


def _counts(why: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(why.items())) or "none"


def _share(interval: dict[str, float]) -> str:
    return f"{interval['value']:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"
