"""What a run will cost, said before it begins. The formulas are pure; `probe` takes a few seconds.

Work: 2 FLOPs a parameter and token forwards, 2 more for gradients of activations, 2 more for those of trained weights
(Kaplan et al. 2020, appendix B). Attention's own work is left out: it is small at these lengths.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from training.llm.model import trainable

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Estimate:
    """`hours` at the rate just measured; None where nothing could be measured, as when weights are sharded."""

    examples: int
    tokens: int
    steps: int
    flops: float
    gib: float
    hours: float | None = None

    def __str__(self) -> str:
        hours = "not measured" if self.hours is None else f"{self.hours:.2f}"
        return (
            f"cost: {self.examples} examples, {self.tokens} tokens, {self.steps} steps, {self.flops:.2e} FLOPs, "
            f"about {self.gib:.1f} GiB a device, hours on this machine: {hours}"
        )


@dataclass(frozen=True, slots=True)
class Work:
    """How a verb spends: texts an example, passes forwards beside the one that learns, tokens it has to write."""

    texts: int = 1
    further: float = 0.0
    written: int = 0


def flops(model: Any, tokens: int, work: Work = Work()) -> float:
    """Of learning from `tokens`, once. Embeddings are looked up, not multiplied, unless they are the output too."""
    on, every = trainable(model)
    return tokens * (2.0 * every * (1 + work.further) + 2.0 * every + 2.0 * on)


def memory_gib(model: Any, batch: int, tokens: int, checkpointing: bool) -> float:
    """Weights, gradients and AdamW's two moments, activations (34 bytes a layer, token and unit), logits in 32 bits."""
    on, _ = trainable(model)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    config = model.config.get_text_config()
    layers = 2 if checkpointing else config.num_hidden_layers
    activations = 34.0 * layers * batch * tokens * config.hidden_size
    logits = 12.0 * batch * tokens * (config.vocab_size if model.get_output_embeddings() is not None else 1)
    return float(weights + on * 12 + activations + logits) / GIB


def probe(model: Any, batch: int, tokens: int) -> float:
    """FLOPs a second of this machine on this model: one step forwards and back, after one to warm up."""
    ids = torch.randint(10, 100, (batch, tokens), device=next(model.parameters()).device)
    seconds = 0.0
    with torch.random.fork_rng():
        for _ in range(2):
            started = time.perf_counter()
            with torch.autocast(ids.device.type, dtype=torch.bfloat16):
                out = model(input_ids=ids, attention_mask=torch.ones_like(ids))
            out.logits.float().pow(2).mean().backward()
            seconds = time.perf_counter() - started
            model.zero_grad(set_to_none=True)
    return flops(model, batch * tokens) / seconds


def estimate(model: Any, lengths: Sequence[int], recipe: Any, work: Work, devices: int = 1) -> Estimate:
    """`lengths`: tokens of the texts of one epoch. On several devices nothing is timed: weights may be sharded."""
    examples = len(lengths) // work.texts
    a_step = recipe.batch * recipe.accumulate * devices
    steps = max(1, math.ceil(math.ceil(examples / a_step) * recipe.epochs))
    steps = min(steps, recipe.max_steps or steps)
    mean = max(2, sum(lengths) // max(1, len(lengths)) + work.written)
    tokens = steps * a_step * work.texts * mean
    total = flops(model, tokens, work)
    rate = None if devices > 1 else probe(model, 1, min(mean, 512))
    return Estimate(
        examples, tokens, steps, total, memory_gib(model, recipe.batch * work.texts, mean, recipe.checkpointing),
        None if rate is None else total / rate / 3600,
    )  # fmt: skip
