"""Trains a reward model from pairs: sluicegate-train reward --recipe training/recipes/reward.yaml --out var/reward."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from guards.evaluation.metrics import wilson
from training import document
from training.llm import dialogues, recipe
from training.llm.dialogues import Example
from training.llm.options import options
from training.llm.ranks import say


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, then says how many held-back pairs the reward puts in the right order."""
    given = options("reward", __doc__).parse_args(argv)
    made_by = document.load(recipe.Reward, given.recipe)
    train, held = dialogues.gather(made_by, pairs=True)
    metrics = build(made_by, train, held, given.out, given.threads)
    say(f"done: {given.out}, held-back pairs in the right order: {metrics['accuracy']['value']:.3f}")


def build(
    made_by: recipe.Reward, train: Sequence[Example], held: Sequence[Example], out: Path, threads: int = 0
) -> dict[str, Any]:
    """A reward model in folder `out`, and its figures."""
    from trl import RewardConfig, RewardTrainer

    from training.llm import model, run
    from training.llm.cost import Work
    from training.llm.rewards import score

    arguments = run.arguments(RewardConfig, made_by, out, max_length=None, center_rewards_coefficient=made_by.center)
    run.prepare(threads)
    tokenizer = model.tokenizer(made_by.model)
    parts = run.fit_in(made_by, model.length(tokenizer), train, held)
    trainer = RewardTrainer(
        model=model.scorer(made_by, tokenizer.pad_token_id),
        args=arguments,
        train_dataset=dialogues.pairs(parts.train),
        processing_class=tokenizer,
        peft_config=model.adapters(made_by, "SEQ_CLS"),
    )
    metrics = run.fit(trainer, made_by, out, parts.lengths, Work(texts=2))
    better, worse = (
        score(trainer.model, tokenizer, [(e.messages, answer) for e, answer in zip(parts.held, side, strict=True)])
        for side in ([e.answer for e in parts.held], [e.worse for e in parts.held])
    )
    metrics |= measured(better - worse)
    run.finish(out, made_by, "reward", parts.train, metrics)
    return metrics


def measured(margins: Any) -> dict[str, Any]:
    """Share of held-back pairs whose better answer earns more, with an interval, and by how much."""
    return {
        "pairs": len(margins),
        "accuracy": wilson(int((margins > 0).sum()), len(margins)).document(),
        "margin": round(float(margins.mean()), 4),
    }


if __name__ == "__main__":
    main()
