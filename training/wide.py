"""The lexical part of the guard: which word pieces and pairs of them a text holds, by tf-idf and logistic regression.

A deep encoder generalises, and forgets rare wordings; a wide linear part remembers them. Both in one graph: Cheng et
al., Wide & Deep Learning for Recommender Systems, 2016. Pairs are hashed (Weinberger et al., 2009).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from guards.calibration import Floats
from guards.windows import Window
from training.encode import Encoded

FIRST_WORD: Final = 104  # ids below are [CLS], [SEP], [UNK], padding
VOCABULARY: Final = 2**15
PAIRS: Final = 2**17
ROWS: Final = VOCABULARY + PAIRS
FACTORS: Final = (
    20_011,
    30_839,
)  # odd; with ids under 2**15 no sum passes 2**31: OpenVINO computes integers in 32 bits
LEAST: Final = 800.0  # added to the square of a text's length: of about ten words, so that a single one weighs little
LEAST_BEFORE: Final = 1e-6  # in guards that do not carry it: 0.3.0


class Wide(nn.Module):  # type: ignore[misc]  # torch has no types in the gateway's environment
    """Word pieces to logits. `table` of shape (ROWS, heads + 1): weights times idf, and the square of idf.

    `least` of shape (1,) is what is added to the square of a text's length.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(ROWS, heads + 1), requires_grad=False)
        self.least = nn.Parameter(torch.tensor([LEAST]), requires_grad=False)

    def forward(self, ids: Tensor, judged: Tensor) -> Tensor:
        """Logits of shape (rows, heads) from ids and a mask of the judged tokens, both of shape (rows, tokens)."""
        word = judged & (ids >= FIRST_WORD)
        pair = torch.bitwise_and(ids[:, :-1] * FACTORS[0] + ids[:, 1:] * FACTORS[1], PAIRS - 1) + VOCABULARY
        sums = self._sum(ids, word) + self._sum(pair, word[:, :-1] & word[:, 1:])
        logits: Tensor = sums[:, :-1] / (sums[:, -1:] + self.least).sqrt()
        return logits

    def _sum(self, keys: Tensor, present: Tensor) -> Tensor:
        """Rows of the table, each key once however often it comes."""
        before = torch.tril((keys.unsqueeze(2) == keys.unsqueeze(1)) & present.unsqueeze(1), -1)
        first = present & (before.to(torch.int32).sum(2) == 0)
        found = nn.functional.embedding(keys, self.table)
        return (found * first.unsqueeze(-1).to(found.dtype)).sum(1)


def fit(data: Encoded, inverse_penalty: float) -> NDArray[np.float32]:
    """The table of `Wide` from the rows of `data`, one logistic regression a head (liblinear).

    A key of a single row gets no weight; a head without rows of both labels gets none at all.
    """
    held = holds(data.windows)
    seen = np.asarray(held.sum(0)).ravel()
    idf = np.where(seen >= 2, np.log((1 + held.shape[0]) / (1 + seen)) + 1, 0.0)
    features = sp.csr_matrix(held @ sp.diags(idf))
    size = np.sqrt(np.asarray(features.multiply(features).sum(1)).ravel() + LEAST)
    features = sp.csr_matrix(sp.diags(1 / size) @ features)
    table = np.zeros((ROWS, data.labels.shape[1] + 1), np.float32)
    table[:, -1] = idf**2
    for head, (labels, weights) in enumerate(zip(data.labels.T, data.weights.T, strict=True)):
        known = ~np.isnan(labels)
        if len(set(labels[known].tolist())) == 2:
            table[:, head] = idf * _weights(features[known], labels[known], weights[known], inverse_penalty)
    return table


def _weights(features: sp.csr_matrix, labels: NDArray[np.float32], weights: NDArray[np.float32], c: float) -> Floats:
    model = LogisticRegression(C=c, solver="liblinear", random_state=0)
    return np.asarray(model.fit(features, labels, sample_weight=weights).coef_[0], np.float64)


def logits(windows: Sequence[Window], table: NDArray[np.float32]) -> Floats:
    """What `Wide` says of windows, shape (windows, heads), without torch."""
    sums = np.asarray(holds(windows) @ table.astype(np.float64))
    return np.asarray(sums[:, :-1] / np.sqrt(sums[:, -1:] + LEAST))


def holds(windows: Sequence[Window]) -> sp.csr_matrix:
    """Which keys each window's judged segment holds: ones, of shape (windows, ROWS)."""
    keys = [_keys(window) for window in windows]
    ends = np.cumsum([0, *map(len, keys)])
    return sp.csr_matrix((np.ones(ends[-1]), np.concatenate(keys), ends), shape=(len(windows), ROWS))


def _keys(window: Window) -> NDArray[np.int64]:
    word = (window.types == window.types.max()) & (window.ids >= FIRST_WORD)
    ids, both = window.ids, word[:-1] & word[1:]
    pairs = ((ids[:-1] * FACTORS[0] + ids[1:] * FACTORS[1]) & (PAIRS - 1)) + VOCABULARY
    return np.unique(np.concatenate([ids[word], pairs[both]]))
