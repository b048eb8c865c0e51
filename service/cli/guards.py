"""`sluicegate guards`: which guards there are, and what they say of a file of texts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import evaluation, guard_bench, guard_server

if TYPE_CHECKING:
    from guards.guard import Guard
    from guards.registry import GuardsFile, Loading, Spec

app = typer.Typer(help="List guards, score files with them, measure them.", no_args_is_help=True)
evaluation.register(app)
guard_server.register(app)
guard_bench.register(app)


File = Annotated[
    Path | None,
    typer.Option("--file", help="guards file; that of SLUICEGATE_GUARDS if not given, else those that ship"),
]


@app.command("list")
def list_guards(file: File = None) -> None:
    """Guards by the names that policies use: kind, and version and digest of classifiers. Loads none.

    Example: sluicegate guards list --file guards.yaml
    """
    from guards.guard import GuardError

    try:
        specs, loading = specified(file)
        for name, spec in specs.specs.items():
            print(f"{name:16} {spec.kind:12} {_known(spec, loading)}".rstrip())
    except GuardError as error:
        raise _fail(str(error), 1) from error


@app.command()
def show(name: str, file: File = None) -> None:
    """Load one guard: version, digest, categories at each stage. Example: sluicegate guards show default"""
    from guards.guard import GuardError
    from guards.registry import build

    try:
        specs, loading = specified(file)
        _describe(build(specs, loading, [name])[name])
    except GuardError as error:
        raise _fail(str(error), 1) from error


@app.command()
def check(file: Path) -> None:
    """Read a guards file, load and reach every guard in it, ask each about a harmless text. Exit code 1 on a fault.

    Example: sluicegate guards check guards.yaml
    """
    from guards.guard import GuardError
    from guards.registry import build
    from guards.verdict import Passage

    harmless = [Passage("Good morning."), Passage("Good morning to you.", "response", "Good morning.")]
    try:
        specs, loading = specified(file)
        built = build(specs, loading)
    except GuardError as error:
        raise _fail(str(error), 1) from error
    for guard in built.values():
        try:
            guard.judge(harmless)
        except GuardError as error:
            raise _fail(f"guard {guard.name!r}: {error}", 1) from error
        _describe(guard)


def specified(file: Path | None) -> "tuple[GuardsFile, Loading]":
    import os

    from guards.registry import GuardsFile, Loading, read
    from service.settings import Settings
    from service.transport import HttpTransport

    at = file or Settings().guards
    loading = Loading(at.parent if at else Path(), threads=os.cpu_count() or 1, connect=HttpTransport, torch=True)
    return read(at) if at else GuardsFile(), loading


def _known(spec: "Spec", loading: "Loading") -> str:
    """What can be told of a guard without loading it."""
    from guards.classifier import MODEL, read_manifest

    if spec.kind == "classifier":
        manifest, _ = read_manifest(loading.folder / spec.folder)
        return f"{manifest.version}  weights {manifest.files[MODEL][:12]}"
    return getattr(spec, "url", "")


def _describe(guard: "Guard") -> None:
    print(f"{guard.name}  version {guard.version}  digest {guard.digest[:12]}")
    for stage in ("input", "output"):
        print(f"  {stage:7} {', '.join(sorted(guard.covers(stage))) or '-'}")


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


def _fail(message: str, code: int = 2) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(code)
