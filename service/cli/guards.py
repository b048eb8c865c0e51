"""`sluicegate guards`: which guards there are, and what they say of a file of texts."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli import evaluation, guard_server

app = typer.Typer(help="List guards, score files with them, measure them.", no_args_is_help=True)
evaluation.register(app)
guard_server.register(app)


@app.command("list")
def list_guards() -> None:
    """Classifiers that ship: version, digest of the weights, what each judges where. Example: sluicegate guards list"""
    from guards.classifier import MODEL
    from guards.guard import GuardError
    from guards.registry import MODELS, shipped

    try:
        for manifest in shipped():
            print(
                f"{manifest.name}  {manifest.version}  weights {manifest.files[MODEL][:12]}  {MODELS / manifest.name}"
            )
            for category, head in manifest.heads.items():
                print(f"  {category:14} {', '.join(head.stages)}")
    except GuardError as error:
        raise _fail(str(error)) from error


@app.command()
def score(
    source: Annotated[Path, typer.Option("--in", help='JSONL: {"prompt": "...", "response": "..."} a line')],
    target: Annotated[Path, typer.Option("--out", help="JSONL: the same lines with scores")],
    guard: Annotated[str, typer.Option(help="name of a shipped guard")] = "default",
    folder: Annotated[Path | None, typer.Option(help="folder of another guard")] = None,
    backend: Annotated[str, typer.Option(help="auto, openvino or onnxruntime")] = "auto",
) -> None:
    """Add `scores: {category: probability}` to each line; .5 and above is what the guard would flag.

    Prompt categories come from the prompt, response categories from the response read with its prompt; a category
    of both is the higher one. Either text may be missing or null.

    Example: sluicegate guards score --in texts.jsonl --out scored.jsonl
    """
    import os

    from guards.guard import GuardError
    from guards.registry import load
    from guards.scoring import BadLine, read_lines, write_scored

    if backend not in ("auto", "openvino", "onnxruntime"):
        raise _fail(f"--backend {backend}: one of auto, openvino, onnxruntime")
    try:
        lines = read_lines(source)  # first: a bad line is told before a model is loaded
        loaded = load(guard, folder, backend, threads=os.cpu_count() or 1, batch_tokens=8192)  # type: ignore[arg-type]
        write_scored(loaded, lines, target, _progress)
    except (GuardError, BadLine) as error:
        raise _fail(str(error)) from error
    except OSError as error:
        raise _fail(f"{target}: cannot be written ({error.strerror})") from error
    print(f"{len(lines)} lines scored by {loaded.name} {loaded.version} ({loaded.backend}): {target}")


def _progress(done: int, lines: int) -> None:
    typer.echo(f"{done}/{lines} lines", err=True)


def _fail(message: str) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(2)
