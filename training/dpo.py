"""Preference optimisation from pairs: sluicegate-train dpo --recipe training/recipes/dpo.yaml --out var/llm/dpo.

`loss` in the recipe chooses DPO, IPO and what else TRL has for pairs; `kto` learns from each answer by itself.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from guards.evaluation.metrics import wilson
from training import document
from training.llm import dialogues, recipe
from training.llm.dialogues import Example
from training.llm.intervals import mean
from training.llm.options import options
from training.llm.ranks import say

KTO = ("kto",)


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, then says by how much the model moved towards the better answers of held-back pairs."""
    given = options("dpo", __doc__).parse_args(argv)
    made_by = document.load(recipe.Dpo, given.recipe)
    train, held = dialogues.gather(made_by, pairs=True)
    metrics = build(made_by, train, held, given.out, given.threads)
    say(f"done: {given.out}, reward margin on held-back pairs {metrics['margin']['value']:+.4f}")


def build(
    made_by: recipe.Dpo, train: Sequence[Example], held: Sequence[Example], out: Path, threads: int = 0
) -> dict[str, Any]:
    """An adapter (or a model) in folder `out`, and its figures."""
    import trl

    from training.llm import model, run
    from training.llm.cost import Work

    kto = made_by.loss == KTO
    config, kind = (trl.KTOConfig, trl.KTOTrainer) if kto else (trl.DPOConfig, trl.DPOTrainer)
    more: dict[str, Any] = {} if kto else {"loss_type": list(made_by.loss)}
    arguments = run.arguments(config, made_by, out, max_length=made_by.max_tokens, beta=made_by.beta, **more)
    run.prepare(threads)
    tokenizer = model.tokenizer(made_by.model)
    parts = run.fit_in(made_by, model.length(tokenizer), train, held)
    trainer = kind(
        model=model.causal(made_by),
        args=arguments,
        train_dataset=dialogues.unpaired(parts.train) if kto else dialogues.pairs(parts.train),
        processing_class=tokenizer,
        peft_config=model.adapters(made_by),
    )
    before = likelihoods(trainer.model, tokenizer, parts.held)
    metrics = run.fit(trainer, made_by, out, parts.lengths, Work(texts=2, further=1.0))
    metrics |= measured(before, likelihoods(trainer.model, tokenizer, parts.held), made_by.beta)
    run.finish(out, made_by, "dpo", parts.train, metrics)
    return metrics


def likelihoods(model: Any, tokenizer: Any, pairs: Sequence[Example]) -> Any:
    """Log-likelihoods of the better and the worse answer of each pair, of shape (2, pairs)."""
    from training.llm.perplexity import perplexity

    sides = (pairs, [replace(pair, answer=pair.worse) for pair in pairs])
    return np.stack([-perplexity(model, tokenizer, side).nats for side in sides])


def measured(before: Any, after: Any, beta: float) -> dict[str, Any]:
    """The implicit reward is beta times what training added to an answer's log-likelihood (Rafailov et al. 2023)."""
    rewards = beta * (after - before)
    margins = rewards[0] - rewards[1]
    return {
        "pairs": len(margins),
        "margin": mean(margins).document(),
        "accuracy": wilson(int((margins > 0).sum()), len(margins)).document(),
        "rewards": {"better": mean(rewards[0]).document(), "worse": mean(rewards[1]).document()},
    }


if __name__ == "__main__":
    main()
