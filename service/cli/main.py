"""The command tree."""

import importlib
import importlib.util

import typer

NOUNS = (
    "engine",
    "guards",
    "policy",
    "keys",
    "ledger",
    "review",
    "serve",
    "console",
    "doctor",
    "top",
    "loadtest",
    "support",
)

app = typer.Typer(
    name="sluicegate",
    help="Guarded LLM inference: serve, guards, policies, keys, ledger, review.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for noun in NOUNS:
    # every service/cli/<noun>.py has `app`, a Typer with verbs, or `register(app)` for verbs of the top level
    if importlib.util.find_spec(f"service.cli.{noun}") is None:
        continue
    module = importlib.import_module(f"service.cli.{noun}")
    if hasattr(module, "register"):
        module.register(app)
    else:
        app.add_typer(module.app, name=noun)


def main() -> None:
    app()
