"""What both commands say of themselves."""

import ast
import importlib
import io
import os
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

import typer

from docs.site.markdown import table

ROOT: Final = Path(__file__).parents[2]
WIDTH: Final = "100"
Command = Any  # typer's own copy of click has no public name


def sluicegate() -> str:
    """A section for each verb: what it says of itself, its arguments and options."""
    from service.cli.main import app

    return "\n".join(_verb(path, command) for path, command in leaves("sluicegate", typer.main.get_command(app)))


def leaves(path: str, command: Command) -> Iterator[tuple[str, Command]]:
    """Verbs without verbs below them, by the words that call them."""
    below: dict[str, Command] = getattr(command, "commands", {})
    if not below:
        yield path, command
    for name, one in below.items():
        yield from leaves(f"{path} {name}", one)


def _verb(path: str, command: Command) -> str:
    context = typer.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    rows = [
        (f"`{record[0]}`".replace("  ", " "), record[1])
        for parameter in command.get_params(context)
        if parameter.name != "help" and (record := parameter.get_help_record(context))
    ]
    options = table(("option", "what"), rows) + "\n" if rows else ""
    return f"### {path}\n\n```text\n{usage}\n```\n\n{_paragraphs(command.help or '')}\n\n{options}"


def _paragraphs(help_text: str) -> str:
    """Help as Markdown: paragraphs stay, an example is code."""
    text = "\n\n".join(" ".join(p.split()) for p in help_text.replace("\f", "").split("\n\n"))
    before, found, example = text.partition("Example: ")
    return f"{before}Example:\n\n```text\n{example.strip()}\n```" if found else text


def sluicegate_train() -> str:
    """A section for each verb with what `--help` prints; of those that need torch at once, what their file says."""
    from training.cli import VERBS

    return "\n".join(
        f"### sluicegate-train {verb}\n\n{summary}\n\n```text\n{_help(module)}\n```\n"
        for verb, (module, summary) in VERBS.items()
    )


def _help(module: str) -> str:
    os.environ["COLUMNS"] = WIDTH
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            importlib.import_module(f"training.{module}").main(["--help"])
    except SystemExit:
        return said.getvalue().strip()
    except ModuleNotFoundError as error:
        if str(error.name).startswith("training"):
            raise
        source = (ROOT / "training" / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        return (ast.get_docstring(ast.parse(source)) or "").strip()
    return said.getvalue().strip()
