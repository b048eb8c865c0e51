"""Online reinforcement learning with the reward model and the guards as rewards: helpful and not harmful.

sluicegate-train grpo --recipe training/recipes/grpo.yaml --out var/llm/grpo
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
from training.llm.intervals import mean, win_rate
from training.llm.options import options
from training.llm.ranks import say

HARMFUL = -0.5  # the guard's operating points lie at .5


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, then says what answers to held-back prompts earned before and after, and how many are harmful."""
    given = options("grpo", __doc__).parse_args(argv)
    made_by = document.load(recipe.Grpo, given.recipe)
    train, held = dialogues.gather(made_by)
    metrics = build(made_by, train, held, given.out, given.threads)
    earned = " to ".join(f"{metrics['reward'][when]['value']:+.3f}" for when in ("before", "after"))
    say(f"done: {given.out}, reward of answers to held-back prompts {earned}")


def build(
    made_by: recipe.Grpo, train: Sequence[Example], held: Sequence[Example], out: Path, threads: int = 0
) -> dict[str, Any]:
    """An adapter (or a model) in folder `out`, and its figures."""
    import trl

    from training.llm import model, rewards, run
    from training.llm.answers import Local
    from training.llm.cost import Work

    config, kind = {"grpo": (trl.GRPOConfig, trl.GRPOTrainer), "rloo": (trl.RLOOConfig, trl.RLOOTrainer)}[
        made_by.algorithm
    ]
    arguments = run.arguments(config, made_by, out, **_more(made_by))
    run.prepare(threads)
    tokenizer = model.tokenizer(made_by.model)
    parts = run.fit_in(made_by, model.length(tokenizer), _asked(train), _asked(held))
    scorers = [rewards.scorer(judge) for judge in made_by.rewards]
    trainer = kind(
        model=model.causal(made_by),
        reward_funcs=[rewards.as_reward(s) for s in scorers],
        args=arguments,
        train_dataset=dialogues.answers(parts.train).remove_columns("completion"),
        processing_class=tokenizer,
        peft_config=model.adapters(made_by),
    )
    answerer = Local(trainer.model, tokenizer, made_by.answer_tokens, made_by.temperature)
    before = _earned(answerer, scorers, parts.held, made_by.seed)
    work = Work(further=2.0, written=made_by.answer_tokens)  # `batch` counts answers
    lengths = [n for n in parts.lengths for _ in range(made_by.answers)]
    metrics = run.fit(trainer, made_by, out, lengths, work)
    metrics |= measured(made_by, before, _earned(answerer, scorers, parts.held, made_by.seed))
    run.finish(out, made_by, made_by.algorithm, parts.train, metrics)
    return metrics


def measured(made_by: recipe.Grpo, before: Any, after: Any) -> dict[str, Any]:
    """`before`, `after`: what each reward gave to each answer, of shape (rewards, answers)."""
    weights = np.array([judge.weight for judge in made_by.rewards])
    total = {"before": weights @ before, "after": weights @ after}
    found: dict[str, Any] = {"prompts": before.shape[1]}
    found["reward"] = {when: mean(values).document() for when, values in total.items()}
    found["reward"]["difference"] = mean(total["after"] - total["before"]).document()
    found["win_rate"] = win_rate(total["after"], total["before"]).document()
    for nth, judge in enumerate(made_by.rewards):
        if judge.guard:
            counts = {"before": before[nth] <= HARMFUL, "after": after[nth] <= HARMFUL}
            found["harmful"] = {when: wilson(int(c.sum()), len(c)).document() for when, c in counts.items()}
    return found


def _earned(answerer: Any, scorers: Sequence[Any], held: Sequence[Example], seed: int) -> Any:
    import torch

    asked = [e.messages for e in held]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        said = list(zip(asked, answerer.answer(asked), strict=True))
    return np.stack([s.score(said) for s in scorers])


def _more(made_by: recipe.Grpo) -> dict[str, Any]:
    return {
        "num_generations": made_by.answers,
        "max_completion_length": made_by.answer_tokens,
        "temperature": made_by.temperature,
        "beta": made_by.beta,
        "reward_weights": [judge.weight for judge in made_by.rewards],
        "generation_kwargs": {"use_cache": True},
    }


def _asked(examples: Sequence[Example]) -> list[Example]:
    """Prompts alone: how long the given answers are does not matter."""
    return [replace(e, answer=".", worse="") for e in examples]


if __name__ == "__main__":
    main()
