"""The default guard as a torch network: a BERT-like encoder, the mean over the judged segment, one logit a category."""

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

logging.disable_progress_bar()


class GuardNetwork(nn.Module):  # type: ignore[misc]  # torch has no types in the gateway's environment
    """Token ids to logits.

    Args:
        architecture: fields of `transformers.BertConfig`.
        heads: number of categories.
    """

    def __init__(self, architecture: Mapping[str, Any], heads: int) -> None:
        super().__init__()
        still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        config = BertConfig(**architecture, **still, attn_implementation="eager")  # the fastest of them on a CPU
        self.encoder = BertModel(config, add_pooling_layer=False)
        self.heads = nn.Linear(config.hidden_size, heads)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Logits of shape (rows, heads) from ids, mask and types of shape (rows, tokens).

        A response is judged, its prompt only read: the mean is over the last segment.
        """
        states = self.encoder(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        last = token_type_ids == token_type_ids.amax(1, keepdim=True)
        judged = (attention_mask * last).unsqueeze(-1).to(states.last_hidden_state.dtype)
        mean: Tensor = (states.last_hidden_state * judged).sum(1) / judged.sum(1)
        logits: Tensor = self.heads(mean)
        return logits


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
    network = GuardNetwork(architecture, len(wanted or stored))
    values = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            value = torch.from_numpy(np.array(values[name], np.float32))
            if not name.startswith("heads."):
                parameter.copy_(value)
                continue
            for row, category in enumerate(wanted or stored):
                if category in stored:
                    parameter[row] = value[list(stored).index(category)]
    return network
