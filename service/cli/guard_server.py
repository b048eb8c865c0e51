"""`sluicegate guards serve`: one guard behind HTTP, where gateways reach it as a remote guard."""

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from guards.guard import Guard


def register(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    guard: Annotated[str, typer.Option(help="name of the guard")] = "default",
    file: Annotated[
        Path | None,
        typer.Option("--file", help="guards file; that of SLUICEGATE_GUARDS if not given, else those that ship"),
    ] = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port to listen on; 0 takes a free one")] = 8090,
    key_env: Annotated[
        str, typer.Option(help="environment variable that holds the key callers must send; there is no serving without")
    ] = "GUARD_KEY",
    at_once: Annotated[int, typer.Option(min=1, help="requests at once; more are answered 503")] = 256,
) -> None:
    """Serve one guard to gateways elsewhere: POST /judge with the key, GET /health without.

    A gateway reaches it with `kind: remote` in its guards file (docs/guards.md). Torch guards run so, in the engine's
    environment: gateways never load torch.

    Example: GUARD_KEY=s3cret sluicegate guards serve --guard default --file guards.yaml --port 8090
    """
    import uvicorn

    from guards.guard import GuardError
    from service.guard_server import create_guard_server
    from service.telemetry.logging import configure

    key = os.environ.get(key_env, "").strip()
    if not key:
        _fail(f"{key_env} is not set: put the key that callers must send into the environment")
    configure("warning")
    try:
        loaded = _load(guard, file)
    except GuardError as error:
        _fail(str(error))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)  # as uvicorn will: who reads the address below may call at once
    except OSError as error:
        _fail(f"cannot listen on {host}:{port} ({error.strerror}); choose another --port")
    config = uvicorn.Config(
        create_guard_server(loaded, key), log_config=None, access_log=False, limit_concurrency=at_once
    )
    shown = "http://{}:{}".format(*listener.getsockname()[:2])
    print(f"{loaded.name} {loaded.version} (digest {loaded.digest[:12]}) is served: {shown}", flush=True)
    uvicorn.Server(config).run(sockets=[listener])


def _load(name: str, file: Path | None) -> "Guard":
    from guards.registry import build
    from service.cli.guards import specified

    specs, loading = specified(file)
    return build(specs, loading, [name])[name]


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)
