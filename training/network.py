"""A guard as a torch network: an encoder and a lexical part, one logit a category."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers.utils import logging

from training.rows import DataError
from training.wide import LEAST_BEFORE, Wide

logging.disable_progress_bar()

OUTSIDE = -1e4  # under every state of the encoder


class GuardNetwork(nn.Module):  # type: ignore[misc]  # torch has no types in the gateway's environment
    """Token ids to logits.

    Args:
        architecture: fields of transformers' configuration; `model_type` says of which kind, by default BERT's.
        heads: number of categories.
        wide: whether it has a lexical part (all zeros at first) beside the encoder.
    """

    def __init__(self, architecture: Mapping[str, Any], heads: int, wide: bool = False) -> None:
        super().__init__()
        config = AutoConfig.for_model(**{"model_type": "bert"} | dict(architecture))
        for name in vars(config):
            if name.endswith(("dropout", "dropout_prob")):
                setattr(config, name, 0.0)
        self.encoder = AutoModel.from_config(config, attn_implementation="eager")  # the fastest of them on a CPU
        self.encoder.pooler = None
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
        known = {"token_type_ids": token_type_ids} if getattr(self.encoder.config, "type_vocab_size", 0) > 1 else {}
        states = self.encoder(input_ids, attention_mask=attention_mask, **known)
        found = states.last_hidden_state
        inside = _judged(attention_mask, token_type_ids).unsqueeze(-1)
        mean = (found * inside.to(found.dtype)).sum(1) / inside.sum(1)
        return torch.cat([mean, found.masked_fill(~inside, OUTSIDE).amax(1)], 1)


def _judged(attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
    """The last segment: a response is judged, its prompt only read."""
    return (token_type_ids == token_type_ids.amax(1, keepdim=True)) & (attention_mask > 0)


def from_encoder(name: str, architecture: Mapping[str, Any], heads: int) -> GuardNetwork:
    """A pretrained encoder (safetensors in a folder, or a hub id) under fresh heads; it may have more layers.

    Raises:
        DataError: its weights cannot be had, or are not those of an encoder of this architecture.
    """
    network = GuardNetwork(architecture, heads)
    how = {"use_safetensors": True, "trust_remote_code": False, "dtype": torch.float32, "output_loading_info": True}
    try:
        found, told = AutoModel.from_pretrained(name, **how)
    except (OSError, ValueError) as error:
        raise DataError(f"{name}: no encoder can be loaded from it: {str(error).splitlines()[0]}") from error
    wanted = network.encoder.state_dict().keys()
    if missing := sorted(wanted & set(told["missing_keys"]) | wanted - found.state_dict().keys()):
        raise DataError(f"{name}: not the encoder that its configuration tells of: it lacks {missing[:3]}")
    network.encoder.load_state_dict({k: v for k, v in found.state_dict().items() if k in wanted})
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
    if "heads.weight" not in values:
        raise DataError(f"{path}: its weights are no longer those of torch (int8): start from a float16 export")
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
