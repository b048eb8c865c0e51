"""How surprised a model is by answers: exp of the mean negative log-likelihood a token, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from guards.evaluation.metrics import Interval
from training.llm.dialogues import Example
from training.llm.intervals import resampled


@dataclass(frozen=True, slots=True)
class Surprise:
    """Negative log-likelihoods summed over each answer, and their tokens; each of shape (answers,)."""

    nats: NDArray[np.float64]
    tokens: NDArray[np.int64]

    def interval(self) -> Interval:
        """Perplexity, with a percentile bootstrap over answers (Efron 1979)."""
        return resampled(lambda pick: float(np.exp(self.nats[pick].sum() / self.tokens[pick].sum())), len(self.tokens))

    def over(self, other: "Surprise") -> Interval:
        """The ratio of two perplexities of the same answers, drawn together."""

        def ratio(pick: Any) -> float:
            return float(np.exp((self.nats[pick] - other.nats[pick]).sum() / self.tokens[pick].sum()))

        return resampled(ratio, len(self.tokens))

    def document(self) -> dict[str, float]:
        return self.interval().document()


def perplexity(model: Any, tokenizer: Any, examples: Sequence[Example], batch: int = 4) -> Surprise:
    """Of the answers of `examples` after what was asked, under the chat template."""
    nats, counts = np.zeros(len(examples)), np.zeros(len(examples), np.int64)
    order = sorted(range(len(examples)), key=lambda n: len(examples[n].said))
    training = model.training
    model.eval()
    for start in range(0, len(order), batch):
        nth = order[start : start + batch]
        nats[nth], counts[nth] = _surprise(model, *_padded([_encoded(tokenizer, examples[n]) for n in nth]))
    model.train(training)
    return Surprise(nats, counts)


def _encoded(tokenizer: Any, example: Example) -> tuple[list[int], int]:
    """Token ids of the dialogue, and how many come before the answer."""
    asked = tokenizer.apply_chat_template(
        list(example.messages), add_generation_prompt=True, tokenize=True, return_dict=False
    )
    whole = [*example.messages, {"role": "assistant", "content": example.answer}]
    return tokenizer.apply_chat_template(whole, tokenize=True, return_dict=False), len(asked)


def _padded(encoded: Sequence[tuple[list[int], int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels, of shape (answers, tokens); a label of -100 is not counted."""
    longest = max(len(ids) for ids, _ in encoded)
    ids = torch.zeros((len(encoded), longest), dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for row, (tokens, asked) in enumerate(encoded):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, asked : len(tokens)] = ids[row, asked : len(tokens)]
    return ids, labels


def _surprise(model: Any, ids: torch.Tensor, labels: torch.Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    device = next(model.parameters()).device
    with torch.no_grad():
        logits = model(input_ids=ids.to(device)).logits[:, :-1].float()  # padding is on the right: nothing looks at it
    wanted = labels[:, 1:].to(device)
    each = cross_entropy(logits.transpose(1, 2), wanted, reduction="none", ignore_index=-100)
    return each.sum(1).double().cpu().numpy(), (wanted != -100).sum(1).cpu().numpy()
