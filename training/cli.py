"""`sluicegate-train`: one verb a file, each with its `main(argv)`."""

import importlib
from typing import Final

import typer

VERBS: Final = {
    "guard": ("train_guard", "Train the default guard from a recipe."),
    "calibrate": ("calibrate", "Set the operating points of a trained guard anew."),
    "evaluate-guard": ("evaluate_guard", "Figures of a guard by source, or with a source left out."),
    "select": ("select", "Pick what to label next, and put it into the review queue."),
    "simulate": ("simulate", "How many labels each way of picking saves, on labelled data."),
    "sample": ("sample", "Let a chat model write user turns, as harmless rows to train on."),
    "data": (
        "dataset.cli",
        "Versions of datasets: build, show, card, materialise, diff, export, import, verify, fetch.",
    ),
    "promote": ("promote", "Gates, then the registry: check, register, shadow, canary, enforce, rollback, status."),
    "loop": ("loop", "Learn again when there is reason to: dataset, training, gates, shadow; then a person is asked."),
    "self-instruct": ("self_instruct", "Let a language model write more rows like given ones."),
    "annotate": ("annotate", "Let a language model propose labels; how far people agree with it."),
    "noise": ("noise", "Rows whose label is likely wrong, by cleanlab."),
    "redteam": ("redteam.cli", "Attack a running service; what gets through goes to reviewers. replay, garak."),
    "drift": ("drift", "Hold the traffic's scores against a frozen window."),
    "pretrain": ("pretrain", "Pre-train the LLM (causal) or a guard's encoder (masked) on texts of one's own."),
    "sft": ("sft", "Instruction tuning of the LLM on preferred answers."),
    "reward": ("reward", "Train a reward model from preference pairs."),
    "dpo": ("dpo", "Preference optimisation of the LLM from pairs: DPO, IPO, KTO, ..."),
    "grpo": ("grpo", "Online reinforcement learning with reward model and guards: GRPO or RLOO."),
    "merge": ("merge", "Write an adapter into its base, compared before it is written."),
    "quantize": ("quantize", "Make a model smaller: eight-bit weights and activations."),
    "evaluate-llm": ("evaluate_llm", "Figures of an LLM beside another one, as JSON and HTML."),
    "llm-bias": ("llm_bias", "The same request for another group of people: what changes in the answer."),
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
            typer.echo(
                f"{error.name} is not installed here. Use .venv-engine/bin/sluicegate-train, after `make train-env`",
                err=True,
            )
            raise typer.Exit(2) from error
        except DataError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(2) from error


for _verb, (_module, _help) in VERBS.items():
    _add(_verb, _module, _help)


def main() -> None:
    app()
