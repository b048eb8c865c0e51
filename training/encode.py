"""Rows as token ids and label matrices, in batches of like length."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from torch import Tensor

from guards.windows import Window, batches, pad
from training.rows import Row

WORD_PIECE_CHARS = 64  # longer words are cut here: the tokenizer would make one [UNK] of them, and [UNK] hides anything


def guard_tokenizer(path: Path) -> str:
    """The encoder's tokenizer as JSON, hardened: compatibility forms folded, endless words cut, no fixed length."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if "NFKC" not in json.dumps(json.loads(tokenizer.to_str())["normalizer"]):
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), tokenizer.normalizer])
        cut = pre_tokenizers.Split(Regex(rf"[\s\S]{{{WORD_PIECE_CHARS}}}"), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([tokenizer.pre_tokenizer, cut])
    return tokenizer.to_str()


@dataclass(frozen=True, slots=True)
class Encoded:
    """Windows of rows; `labels` and `weights` of shape (rows, heads), a label that is unknown is NaN."""

    windows: list[Window]
    labels: NDArray[np.float32]
    weights: NDArray[np.float32]


def encode(
    rows: Sequence[Row], tokenizer_json: str, heads: Sequence[str], max_tokens: int, prompt_tokens: int
) -> Encoded:
    """The beginning of each row as one window: what a label says is most often seen there."""
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.encode_special_tokens = True
    windows = [_window(nth, row, tokenizer, max_tokens, prompt_tokens) for nth, row in enumerate(rows)]
    labels = np.array([[row.labels.get(h, np.nan) for h in heads] for row in rows], np.float32)
    return Encoded(windows, labels, balance(labels) * np.array([[r.weight] for r in rows], np.float32))


def _window(nth: int, row: Row, tokenizer: Tokenizer, max_tokens: int, prompt_tokens: int) -> Window:
    text = tokenizer.encode(row.text, add_special_tokens=False)
    if not row.is_response:
        text.truncate(max_tokens - 2)
        encoding = tokenizer.post_process(text)
    else:
        prompt = tokenizer.encode(row.prompt, add_special_tokens=False)
        prompt.truncate(prompt_tokens, direction="left")
        text.truncate(max_tokens - 3 - len(prompt.ids))
        encoding = tokenizer.post_process(prompt, text)
    return Window(nth, np.array(encoding.ids, np.int64), np.array(encoding.type_ids, np.int64))


def balance(labels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights under which each head sees as much of 1 as of 0, within a factor of four; 0 where unknown."""
    ones, zeros = (labels == 1).sum(0), (labels == 0).sum(0)
    ratio = np.sqrt(np.clip((zeros + 1) / (ones + 1), 1 / 16, 16))
    weights = np.where(labels == 1, ratio, 1 / ratio)
    return np.where(np.isnan(labels), 0, weights).astype(np.float32)


Batch = tuple[dict[str, Tensor], Tensor, Tensor]


def shuffled(encoded: Encoded, batch_tokens: int, seed: int) -> list[list[Window]]:
    """Batches of like length in an order drawn from `seed`."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(encoded.windows))
    made = [
        b for part in np.array_split(order, max(1, len(order) // 4096)) for b in _batches(encoded, part, batch_tokens)
    ]
    return [made[i] for i in random.permutation(len(made))]


def _batches(encoded: Encoded, part: NDArray[np.int64], batch_tokens: int) -> Iterator[list[Window]]:
    return batches((encoded.windows[i] for i in part), batch_tokens)


def tensors(encoded: Encoded, batch: Sequence[Window]) -> Batch:
    """Model inputs, labels and weights of a batch."""
    owners = [w.owner for w in batch]
    inputs = {name: torch.from_numpy(value) for name, value in pad(batch).items()}
    labels = torch.from_numpy(np.nan_to_num(encoded.labels[owners]))
    return inputs, labels, torch.from_numpy(encoded.weights[owners])
