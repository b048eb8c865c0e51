"""Pre-training on texts of one's own domain: sluicegate-train pretrain --recipe R.yaml --out var/p.

`causal` for the LLM: the next token. `masked` for the encoder of a guard (Gururangan et al. 2020): hidden tokens.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from training import document
from training.llm import dialogues, recipe
from training.llm.dialogues import Example
from training.llm.options import options
from training.llm.ranks import say
from training.rows import DataError


def main(argv: Sequence[str] | None = None) -> None:
    """Trains on blocks of text; says the loss of held-back texts before and after."""
    given = options("pretrain", __doc__).parse_args(argv)
    made_by = document.load(recipe.Pretrain, given.recipe)
    train, held = dialogues.gather(made_by, texts=True)
    metrics = build(made_by, train, held, given.out, given.threads)
    say(f"done: {given.out}, loss {metrics['loss_held']['before']:.3f} to {metrics['loss_held']['after']:.3f}")


def build(
    made_by: recipe.Pretrain, train: Sequence[Example], held: Sequence[Example], out: Path, threads: int = 0
) -> dict[str, Any]:
    """An adapter or a model in folder `out`, and its figures."""
    from datasets import Dataset
    from transformers import AutoModelForMaskedLM, DataCollatorForLanguageModeling, Trainer, TrainingArguments

    from training.llm import model, run

    arguments = run.arguments(TrainingArguments, made_by, out)
    run.prepare(threads)
    masked = made_by.objective == "masked"
    tokenizer = model.tokenizer(made_by.model)
    found = model.begun(AutoModelForMaskedLM, made_by, tokenizer.pad_token_id) if masked else model.causal(made_by)
    if (adapters := model.adapters(made_by)) is not None:
        from peft import get_peft_model

        found = get_peft_model(found, adapters)
    parts = [list(blocks((e.said for e in part), tokenizer, made_by.max_tokens)) for part in (train, held)]
    if not all(parts):
        raise DataError(f"the texts do not fill a block of {made_by.max_tokens} tokens: give more, or lower max_tokens")
    how = {"mlm": True, "mlm_probability": made_by.mask} if masked else {"mlm": False}
    trainer = Trainer(
        model=found,
        args=arguments,
        train_dataset=Dataset.from_list(parts[0]),
        eval_dataset=Dataset.from_list(parts[1]),
        processing_class=tokenizer,
        data_collator=DataCollatorForLanguageModeling(tokenizer, **how),
    )
    before = _loss(trainer, made_by.seed)
    metrics = run.fit(trainer, made_by, out, [made_by.max_tokens] * len(parts[0]))
    metrics["loss_held"] = {"blocks": len(parts[1]), "before": before, "after": _loss(trainer, made_by.seed)}
    tokenizer.save_pretrained(str(out))
    run.finish(out, made_by, "pretrain", train, metrics)
    return metrics


def blocks(texts: Iterable[str], tokenizer: Any, size: int) -> Iterator[dict[str, list[int]]]:
    """Texts joined by the end-of-text token and cut into blocks of `size` tokens; the rest that fills none is left."""
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    left: list[int] = []
    for text in texts:
        left += [*tokenizer(text, add_special_tokens=False)["input_ids"], end]
        while len(left) >= size:
            yield {"input_ids": left[:size]}
            left = left[size:]


def _loss(trainer: Any, seed: int) -> float:
    """Of held-back blocks, with the same tokens masked each time."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return round(float(trainer.evaluate()["eval_loss"]), 4)


if __name__ == "__main__":
    main()
