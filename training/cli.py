"""`sluicegate-train`: one verb a file, each with its `main(argv)`."""

import importlib
from typing import Final

import typer

VERBS: Final = {
    "guard": ("train_guard", "Train the default guard from a recipe."),
    "calibrate": ("calibrate", "Set the operating points of a trained guard anew."),
    "evaluate-guard": ("evaluate_guard", "Figures of a guard by source, or with a source left out."),
    "sample": ("sample", "Let a chat model write user turns, as harmless rows to train on."),
    "promote": ("promote", "Gates, then the registry: check, register, shadow, canary, enforce, rollback, status."),
    "drift": ("drift", "Hold the traffic's scores against a frozen window."),
}

app = typer.Typer(
    name="sluicegate-train",
    help="From decisions to a better model. Example: sluicegate-train guard --out var/guard",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _add(verb: str, module: str, help_text: str) -> None:
    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

    @app.command(verb, help=help_text, context_settings=settings)
    def run(context: typer.Context) -> None:
        from training.rows import DataError

        try:
            importlib.import_module(f"training.{module}").main(context.args)
        except ModuleNotFoundError as error:
            if str(error.name).startswith("training"):
                raise
            typer.echo(f"{error.name} is not installed here. Use .venv-engine/bin/sluicegate-train", err=True)
            raise typer.Exit(2) from error
        except DataError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from error


for _verb, (_module, _help) in VERBS.items():
    _add(_verb, _module, _help)


def main() -> None:
    app()
