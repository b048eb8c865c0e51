"""Instruction tuning on preferred answers: sluicegate-train sft --recipe training/recipes/sft.yaml --out var/sft."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training import document
from training.llm import dialogues, recipe
from training.llm.dialogues import Example
from training.llm.options import options
from training.llm.ranks import say


def main(argv: Sequence[str] | None = None) -> None:
    """Trains on the answers alone, not on what was asked; says the perplexity of held-back answers before and after."""
    given = options("sft", __doc__).parse_args(argv)
    made_by = document.load(recipe.Sft, given.recipe)
    train, held = dialogues.gather(made_by)
    metrics = build(made_by, train, held, given.out, given.threads)
    before, after = (metrics["perplexity"][when]["value"] for when in ("before", "after"))
    say(f"done: {given.out}, perplexity of held-back answers {before:.2f} before, {after:.2f} after")


def build(
    made_by: recipe.Sft, train: Sequence[Example], held: Sequence[Example], out: Path, threads: int = 0
) -> dict[str, Any]:
    """An adapter (or a model) in folder `out`, and its figures."""
    from trl import SFTConfig, SFTTrainer

    from training.llm import model, run
    from training.llm.perplexity import perplexity

    more = {"completion_only_loss": True, "packing": made_by.packing, "max_length": made_by.max_tokens}
    arguments = run.arguments(SFTConfig, made_by, out, **more)
    run.prepare(threads)
    tokenizer = model.tokenizer(made_by.model)
    parts = run.fit_in(made_by, model.length(tokenizer), train, held)
    trainer = SFTTrainer(
        model=model.causal(made_by),
        args=arguments,
        train_dataset=dialogues.answers(parts.train),
        processing_class=tokenizer,
        peft_config=model.adapters(made_by),
    )
    before = perplexity(trainer.model, tokenizer, parts.held)
    metrics = run.fit(trainer, made_by, out, parts.lengths)
    after = perplexity(trainer.model, tokenizer, parts.held)
    metrics["perplexity"] = {"answers": len(parts.held), "before": before.document(), "after": after.document()}
    metrics["perplexity"]["ratio"] = after.over(before).document()
    run.finish(out, made_by, "sft", parts.train, metrics)
    return metrics


if __name__ == "__main__":
    main()
