"""`sluicegate serve`: the engine as a supervised child, the gateway in this process."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from service.settings import Settings

FAILED: Final = 1
CONSOLE_GRACE_S: Final = 2.0
KEEP_ALIVE_S: Final = 75  # longer than clients and balancers keep idle connections: who closes first meets no request


def register(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    port: Annotated[int | None, typer.Option(envvar="PORT", help="port of the gateway; 0 takes a free one")] = None,
) -> None:
    """Serve guarded chat: start vLLM beside us, then the gateway. Ctrl-C ends both and drains open streams first.

    A changed policy file is taken within seconds, or at once on SIGHUP; a wrong one changes nothing (docs/policy.md).

    Settings come from the environment (docs/settings.md): SLUICEGATE_MODEL another model, SLUICEGATE_ENGINE_URL an
    engine that runs elsewhere, SLUICEGATE_POLICY a policy file, SLUICEGATE_CLIENT_KEY and SLUICEGATE_ADMIN_KEY keys.

    Example: SLUICEGATE_CLIENT_KEY=sg-mine sluicegate serve --port 8080
    """
    import uvloop
    from pydantic import ValidationError

    from service.app import StartError
    from service.engine import EngineError
    from service.settings import Settings

    try:
        settings = Settings() if port is None else Settings(port=port)
        uvloop.run(_serve(settings))
    except ValidationError as error:
        _fail("\n".join(f"SLUICEGATE_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors()))
    except (StartError, EngineError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.strerror}: {error.filename or ''}. Free some disk or memory, or set SLUICEGATE_HOME elsewhere.")


def _fail(message: str) -> None:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(FAILED)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


async def _serve(settings: "Settings") -> None:
    from service.app import assembled, checked
    from service.telemetry.logging import configure

    configure(settings.log_level)
    stop, nudged = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, nudged.set)
    settings.home.mkdir(parents=True, exist_ok=True)
    listener = _listener(settings)
    guarded = checked(settings)  # a bad policy or guard ends the start before the engine is loaded
    async with _engine(settings, stop) as engine:
        if engine is None:
            return
        url, key = engine
        async with assembled(settings, guarded, url, key, nudged) as (app, keys), _console(settings):
            await _run(app, settings, listener, stop, lambda: _greet(settings, listener, keys))


def _listener(settings: "Settings") -> socket.socket:
    from service.app import StartError

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise StartError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}). "
            "Stop what uses it, or choose another port: PORT=8081 make serve"
        ) from error
    return listener


@asynccontextmanager
async def _engine(settings: "Settings", stop: asyncio.Event) -> AsyncIterator[tuple[str, str | None] | None]:
    """URL and key of an engine that answers; None when we were told to stop while it loaded."""
    if settings.engine_url:
        yield settings.engine_url, settings.engine_key.get_secret_value() if settings.engine_key else None
        return
    from service.engine.install import engine_python
    from service.engine.launcher import EngineProcess
    from service.engine.model import bring

    model = await asyncio.to_thread(bring, settings.model, settings.home, engine_python(settings.engine_env), _tell)
    process = EngineProcess(
        settings.engine_env,
        model,
        settings.home,
        port=settings.engine_port,
        arguments=settings.engine_args,
        lora=settings.engine_lora,
    )
    await process.start()
    try:
        ready = asyncio.create_task(process.wait_ready(settings.engine_start_timeout_s, _tell))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([ready, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if ready.done():
            await ready
            yield process.url, process.key
        else:
            ready.cancel()
            yield None
    finally:
        await process.stop()


@asynccontextmanager
async def _console(settings: "Settings") -> AsyncIterator[None]:
    """The review console, a process of its own: what reviewers do takes no time from anybody's answer."""
    if not settings.console:
        yield
        return
    from service.engine.leash import leashed

    command = [sys.executable, "-c", "from service.cli import main; main()", "console"]
    process = await asyncio.create_subprocess_exec(
        *leashed(command, CONSOLE_GRACE_S), stdin=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        yield
    finally:
        assert process.stdin is not None  # noqa: S101  # it is a pipe
        process.stdin.close()  # the leash does the rest
        await process.wait()


async def _run(
    app: "FastAPI", settings: "Settings", listener: socket.socket, stop: asyncio.Event, greet: Callable[[], None]
) -> None:
    """Serves until told to stop; then no new connections, open streams get `drain_s`, a second signal ends at once."""
    import uvicorn

    from service.app import settle

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # signals are ours: the engine must be stopped after the streams

    server = Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=int(settings.drain_s),
            timeout_keep_alive=KEEP_ALIVE_S,
            lifespan="off",
            forwarded_allow_ips=settings.trusted_proxies,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():  # noqa: ASYNC110  # uvicorn gives no event for it
        await asyncio.sleep(0.02)
    settle()
    greet()
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        _tell(f"stopping: open streams have {settings.drain_s:.0f} s (a second Ctrl-C ends them now)")
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _force, server)
    server.should_exit = True
    await serving


def _force(server: "uvicorn.Server") -> None:
    server.force_exit = True


def _greet(settings: "Settings", listener: socket.socket, keys: dict[str, str]) -> None:
    host, port = listener.getsockname()[:2]
    url = f"http://{host}:{port}"
    _tell(f"\nSluicegate is ready: {url}")
    for role, key in keys.items():
        _tell(f"  {role} key (shown this once): {key}")
    if "client" not in keys:
        _tell("  keys: as given or made earlier; another: sluicegate keys create --role client --tenant default")
    shown = keys.get("client", "$SLUICEGATE_CLIENT_KEY")
    body = f'{{"model": "{Path(settings.model).name}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'
    _tell(
        f"\n  curl {url}/v1/chat/completions -H 'Authorization: Bearer {shown}' "
        f"-H 'Content-Type: application/json' -d '{body}'\n"
    )
