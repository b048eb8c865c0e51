"""What follows fine-tuning, for texts of sources that were not seen: weights part of the way back, heads fitted anew
on what the encoder says then, the lexical part added in the proportion that held-out rows ask for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from guards.calibration import Floats
from guards.windows import Window
from training import wide
from training.encode import Encoded, each
from training.network import GuardNetwork

REFIT_ROWS = 10_000  # of 768 numbers each: more rows cost time and change little


def encoder_of(network: GuardNetwork) -> dict[str, Tensor]:
    """A copy of the encoder's weights."""
    return {name: value.detach().clone() for name, value in network.encoder.named_parameters()}


def go_back(network: GuardNetwork, before: Mapping[str, Tensor], kept: float) -> None:
    """Leaves the share `kept` of what fine-tuning changed: Wortsman et al., Robust fine-tuning, CVPR 2022."""
    with torch.no_grad():
        for name, value in network.encoder.named_parameters():
            value.lerp_(before[name], 1 - kept)


def refit(network: GuardNetwork, data: Encoded, inverse_penalty: float) -> None:
    """Each head becomes the mean of itself and of a logistic regression on the pooled states of the rows it knows.

    Both are brought to the same spread first. Each is the better one on some unseen source, the mean is near the best.
    """
    data = data.some(REFIT_ROWS, 0)
    states = pooled(network, data.windows)
    centre, spread = states.mean(0), states.std(0) + 1e-3
    for head, known in _fittable(data):
        fitted = LogisticRegression(C=inverse_penalty, max_iter=500).fit(
            (states[known] - centre) / spread, data.labels[known, head], sample_weight=data.weights[known, head]
        )
        anew, trained = fitted.coef_[0] / spread, network.heads.weight[head].detach().numpy()
        weights = sum(w / max((states[known] @ w).std(), 1e-6) for w in (anew, trained))
        _set(network, head, weights, -float(states[known].mean(0) @ weights))


def widen(
    network: GuardNetwork, data: Encoded, held: Encoded, inverse_penalty: float, times: Sequence[float]
) -> list[tuple[float, float]]:
    """Adds the lexical part fitted on `data`; what each part weighs in a head is fitted on `held` and returned.

    Held-out rows decide because the encoder has seen the others: on those it looks surer than it is (Wolpert, 1992).
    They are of the same sources, whose style it knows as well: for other sources another weight is better, so what
    they ask for is taken `times` as often in each head.
    """
    table = wide.fit(data, inverse_penalty)
    lexical = wide.logits(held.windows, table)
    states = pooled(network, held.windows).astype(np.float64)
    shares = [(1.0, 0.0)] * len(table[0, :-1])
    for head, known in _fittable(held):
        weights, bias = network.heads.weight[head].detach().numpy(), network.heads.bias[head].item()
        parts = np.stack([states[known] @ weights + bias, lexical[known, head]], 1)
        deep, lexically, shift = _stacked(parts, held.labels[known, head])
        _set(network, head, deep * weights, deep * bias + shift)
        shares[head] = (deep, times[head] * lexically)
    table[:, :-1] *= [lexically for _, lexically in shares]
    network.wide = wide.Wide(len(shares))
    with torch.no_grad():
        network.wide.table.copy_(torch.from_numpy(table))
    return shares


def pooled(network: GuardNetwork, windows: Sequence[Window]) -> NDArray[np.float32]:
    """What the heads see of windows, shape (windows, 2 x hidden)."""

    def run(inputs: Any) -> NDArray[np.float32]:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            pooled = network.pool(**{name: torch.from_numpy(value) for name, value in inputs.items()})
        return np.asarray(pooled.float())

    return each(run, windows)


def _stacked(parts: Floats, labels: NDArray[np.float32]) -> tuple[float, float, float]:
    """Factors of the deep and of the lexical logits, neither below zero, and the shift."""
    fitted = LogisticRegression().fit(parts, labels)
    deep, lexically = (float(c) for c in fitted.coef_[0])
    if min(deep, lexically) >= 0:
        return deep, lexically, float(fitted.intercept_[0])
    kept = int(lexically > deep)
    alone = LogisticRegression().fit(parts[:, [kept]], labels)
    factor, shift = max(float(alone.coef_[0, 0]), 0.0), float(alone.intercept_[0])
    return (0.0, factor, shift) if kept else (factor, 0.0, shift)


def _fittable(data: Encoded) -> list[tuple[int, NDArray[np.bool_]]]:
    """Heads of which there are rows of both labels, and which rows label them."""
    known = ~np.isnan(data.labels)
    both = [{0.0, 1.0} <= set(data.labels[k, head].tolist()) for head, k in enumerate(known.T)]
    return [(head, known[:, head]) for head, has in enumerate(both) if has]


def _set(network: GuardNetwork, head: int, weights: Floats, bias: float) -> None:
    with torch.no_grad():
        network.heads.weight[head] = torch.from_numpy(np.asarray(weights, np.float32))
        network.heads.bias[head] = bias
