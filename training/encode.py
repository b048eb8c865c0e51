"""Rows as token ids and label matrices, in batches of like length."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding, Regex, Tokenizer, normalizers, pre_tokenizers, processors
from torch import Tensor

from guards.runtime import Run
from guards.windows import Window, batches, pad
from training.rows import Row

RUN_TOKENS = 8192  # of a batch that nothing is learnt from
WORD_PIECE_CHARS = 64  # longer words are cut here: the tokenizer would make one [UNK] of them, and [UNK] hides anything


def guard_tokenizer(given: str) -> str:
    """A tokenizer's JSON, hardened: compatibility forms folded, endless words cut, no fixed length.

    Tokens of a response are of type 1 even if the encoder knows no types: they tell which part is judged.
    """
    tokenizer = Tokenizer.from_str(given)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if "NFKC" not in json.dumps(json.loads(tokenizer.to_str())["normalizer"]):
        folded, cut = normalizers.NFKC(), pre_tokenizers.Split(Regex(rf"[\s\S]{{{WORD_PIECE_CHARS}}}"), "isolated")
        tokenizer.normalizer = normalizers.Sequence([*filter(None, [folded, tokenizer.normalizer])])
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*filter(None, [tokenizer.pre_tokenizer, cut])])
    pair = tokenizer.encode("a", "b")
    if not any(pair.type_ids):
        tokenizer.post_processor = _typed(tokenizer, pair)
    return tokenizer.to_str()


def _typed(tokenizer: Tokenizer, pair: Encoding) -> processors.TemplateProcessing:
    """The same special tokens, and a type that says which sequence a token is of."""
    places = {None: "", 0: "$A", 1: "$B"}

    def parts(of: Encoding) -> list[str]:
        found = [places[s] or token for token, s in zip(of.tokens, of.sequence_ids, strict=True)]
        return [p for nth, p in enumerate(found) if p[0] != "$" or p not in found[:nth]]

    alone = tokenizer.encode("a")
    both = parts(pair)
    second = both.index("$B")
    typed = [f"{part}:{int(nth >= second)}" for nth, part in enumerate(both)]
    special = {
        (token, nth)
        for of in (alone, pair)
        for token, nth, sequence in zip(of.tokens, of.ids, of.sequence_ids, strict=True)
        if sequence is None
    }
    return processors.TemplateProcessing(single=parts(alone), pair=typed, special_tokens=sorted(special))


@dataclass(frozen=True, slots=True)
class Encoded:
    """Windows of rows; `labels` and `weights` of shape (rows, heads), a label that is unknown is NaN."""

    windows: list[Window]
    labels: NDArray[np.float32]
    weights: NDArray[np.float32]

    def some(self, most: int, seed: int) -> "Encoded":
        """At most `most` rows, drawn with a seed."""
        drawn = np.random.default_rng(seed).permutation(len(self.windows))[:most]
        windows = [replace(self.windows[row], owner=nth) for nth, row in enumerate(drawn)]
        return Encoded(windows, self.labels[drawn], self.weights[drawn])

    def decided(self) -> "Encoded":
        """Labels of 0 and 1 where there were shares of votes; half of them is no majority."""
        return replace(self, labels=np.round(self.labels))


def encode(
    rows: Sequence[Row],
    tokenizer_json: str,
    heads: Sequence[str],
    max_tokens: int,
    prompt_tokens: int,
    *,
    votes: bool = False,
) -> Encoded:
    """The beginning of each row as one window: what a label says is most often seen there.

    `votes`: a row's label is the share of the reviewers that said so, where the row tells it.
    """
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.encode_special_tokens = True
    windows = [_window(nth, row, tokenizer, max_tokens, prompt_tokens) for nth, row in enumerate(rows)]
    label = _share if votes else _decided
    labels = np.array([[label(row, h) for h in heads] for row in rows], np.float32)
    return Encoded(windows, labels, balance(labels) * np.array([[r.weight] for r in rows], np.float32))


def _decided(row: Row, head: str) -> float:
    return row.labels.get(head, np.nan)


def _share(row: Row, head: str) -> float:
    """The share of votes for a label, unless the row is a view of which something else holds."""
    said = _decided(row, head)
    share = (row.extra.get("distribution") or {}).get(head, said)
    return float(share) if abs(share - said) <= 0.5 else said


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
    ones, zeros = (labels > 0.5).sum(0), (labels <= 0.5).sum(0)
    ratio = np.sqrt(np.clip((zeros + 1) / (ones + 1), 1 / 16, 16))
    weights = np.where(labels > 0.5, ratio, 1 / ratio)
    return np.where(np.isnan(labels), 0, weights).astype(np.float32)


def each(run: Run, windows: Sequence[Window]) -> NDArray[np.float32]:
    """What `run` says of each window, in their order; those of like length go through it together."""
    found: dict[int, NDArray[np.float32]] = {}
    for batch in batches([replace(w, owner=nth) for nth, w in enumerate(windows)], RUN_TOKENS):
        found |= zip([w.owner for w in batch], run(pad(batch)), strict=True)
    return np.stack([found[nth] for nth in range(len(windows))])


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
