"""The default guard as a torch network: a BERT-like encoder and a lexical part, one logit a category."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import BertConfig, BertModel
from transformers.utils import logging

from training.wide import LEAST_BEFORE, Wide

logging.disable_progress_bar()

OUTSIDE = -1e4  # under every state of the encoder


class GuardNetwork(nn.Module):  # type: ignore[misc]  # torch has no types in the gateway's environment
    """Token ids to logits.

    Args:
        architecture: fields of `transformers.BertConfig`.
        heads: number of categories.
        wide: whether it has a lexical part (all zeros at first) beside the encoder.
    """

    def __init__(self, architecture: Mapping[str, Any], heads: int, wide: bool = False) -> None:
        super().__init__()
        still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        config = BertConfig(**architecture, **still, attn_implementation="eager")  # the fastest of them on a CPU
        self.encoder = BertModel(config, add_pooling_layer=False)
        self.heads = nn.Linear(2 * config.hidden_size, heads)
        self.wide = Wide(heads) if wide else None

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Logits of shape (rows, heads) from ids, mask and types of shape (rows, tokens)."""
        logits: Tensor = self.heads(self.pool(input_ids, attention_mask, token_type_ids))
        if self.wide is None:
            return logits
        return logits.float() + self.wide(input_ids, _judged(attention_mask, token_type_ids))

    def pool(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """What the heads see, shape (rows, 2 x hidden): mean and maximum of the states of the judged segment.

        What a text is about shows in the mean; an order hidden in it is local, and the mean dilutes it.
        """
        states = self.encoder(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        found = states.last_hidden_state
        inside = _judged(attention_mask, token_type_ids).unsqueeze(-1)
        mean = (found * inside.to(found.dtype)).sum(1) / inside.sum(1)
        return torch.cat([mean, found.masked_fill(~inside, OUTSIDE).amax(1)], 1)


def _judged(attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
    """The last segment: a response is judged, its prompt only read."""
    return (token_type_ids == token_type_ids.amax(1, keepdim=True)) & (attention_mask > 0)


def from_encoder(folder: Path, architecture: Mapping[str, Any], heads: int) -> GuardNetwork:
    """A pretrained encoder (`model.safetensors` of a BertModel) under fresh heads."""
    network = GuardNetwork(architecture, heads)
    weights = {k: v.float() for k, v in load_file(folder / "model.safetensors").items() if v.is_floating_point()}
    weights = {k: v for k, v in weights.items() if not k.startswith("pooler.")}
    missing, unexpected = network.encoder.load_state_dict(weights, strict=False)
    if unexpected or any(not name.endswith("position_ids") for name in missing):
        raise ValueError(f"{folder}: not the encoder that was named: missing {missing}, unexpected {unexpected}")
    return network


def from_onnx(
    path: Path, architecture: Mapping[str, Any], stored: Sequence[str], wanted: Sequence[str] | None = None
) -> GuardNetwork:
    """The network of an exported guard: its initialisers carry the torch names.

    Args:
        stored: categories of the guard, in order.
        wanted: categories of the network; heads that the guard lacks start fresh. By default those of the guard.
    """
    values = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}
    network = GuardNetwork(architecture, len(wanted or stored), wide="wide.table" in values)
    values.setdefault("wide.least", np.array([LEAST_BEFORE], np.float32))
    places = [(row, list(stored).index(c)) for row, c in enumerate(wanted or stored) if c in stored]
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            value = torch.from_numpy(np.array(values[name], np.float32))
            if name == "wide.table":
                parameter[:, -1] = value[:, -1]
            elif not name.startswith("heads."):
                parameter.copy_(value)
                continue
            for row, place in places:
                whole, held = _head(name, parameter, row), _head(name, value, place)
                whole.zero_()[: len(held)] = held  # guards before 0.3.0 have heads over the mean alone
    return network


def _head(name: str, values: Tensor, head: int) -> Tensor:
    """What belongs to one head, as a view of one dimension: a column of the lexical table, a row of the others."""
    return values[:, head] if name == "wide.table" else values[head : head + 1].view(-1)
