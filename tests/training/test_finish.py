"""After fine-tuning: weights part of the way back, heads fitted anew, the lexical part by what held-out rows say."""

import json

import pytest

PROGRAM = """
import json
from pathlib import Path
import numpy as np, torch
from guards.windows import Window, pad
from training import encoder, finish, recipe
from training.encode import Encoded
from training.network import GuardNetwork
from training.fit_guard import run_digest

torch.manual_seed(0)
architecture = encoder.of_guard(Path("guards/models/default"), 1)[0]
random = np.random.default_rng(0)


def rows(count):
    labels = np.stack([random.integers(0, 2, count), np.full(count, np.nan)], 1).astype(np.float32)
    words = [np.r_[101, random.integers(5000, 5400, 12), 7000 + int(y), 102] for y in labels[:, 0]]  # one word tells
    windows = [Window(n, w.astype(np.int64), np.zeros(len(w), np.int64)) for n, w in enumerate(words)]
    return Encoded(windows, labels, np.where(np.isnan(labels), 0, 1).astype(np.float32))


def right(network, data):
    inputs = {k: torch.from_numpy(v) for k, v in pad(data.windows).items()}
    with torch.no_grad():
        found = network(**inputs)[:, 0].numpy() > 0
    return float((found == (data.labels[:, 0] == 1)).mean())


network, data, held = GuardNetwork(architecture, 2), rows(300), rows(200)
made_by = recipe.load(Path("training/recipes/guard_loso.yaml"))
runs = {
    "same": (data, made_by),
    "finish": (data, made_by.model_copy(update={"finish": None})),
    "lr": (data, made_by.model_copy(update={"lr": 1e-5})),
    "rows": (held, made_by),
}
digests = {what: run_digest(network, *of) for what, of in runs.items()}
before = finish.encoder_of(network)
name, value = next(iter(network.encoder.named_parameters()))
with torch.no_grad():
    value += 1.0
finish.go_back(network, before, 0.25)
changed = float((value - before[name]).abs().mean())
heads = [network.heads.weight[1].tolist()]
finish.refit(network, data, 0.01)
deep = right(network, held)
shares = finish.widen(network, data, held, 10.0, [1.0, 1.0])
both, whole = right(network, held), network.wide.table[:, 0].abs().max().item()
again = finish.widen(network, data, held, 10.0, [0.5, 1.0])  # only the table is compared
digests["weights"] = run_digest(network, data, made_by)
print(json.dumps({
    "digests": digests,
    "half": network.wide.table[:, 0].abs().max().item() / whole, "agreed": again[0][1] / shares[0][1],
    "changed": changed, "deep": deep, "both": both, "shares": shares,
    "untouched": heads[0] == network.heads.weight[1].tolist() and float(network.wide.table[:, 1].abs().max()) == 0,
}))
"""


@pytest.fixture(scope="module")
def found(train):
    return json.loads(train("-c", PROGRAM).stdout)


def test_weights_go_back(found):
    """A quarter kept leaves a quarter of what fine-tuning changed."""
    assert found["changed"] == pytest.approx(0.25, abs=1e-3)


def test_heads_are_fitted_anew(found):
    """Half a regression and half a random head are right on most held-out rows, the whole guard on nearly all."""
    assert found["deep"] > 0.8
    assert found["both"] > 0.95


def test_the_lexical_part_has_a_say(found):
    """Where one word decides, the lexical part weighs more than nothing."""
    assert found["shares"][0][1] > 0


def test_a_head_may_hear_less_of_the_lexical_part(found):
    """Half the weight that held-out rows ask for is half the table, and the shares say so."""
    assert found["half"] == pytest.approx(0.5, abs=0.05)
    assert found["agreed"] == pytest.approx(found["half"], abs=0.01)


def test_a_head_without_rows_is_left_alone(found):
    """A category that no row labels keeps its head and gets no lexical part."""
    assert found["untouched"]


def test_only_what_decides_the_weights_ends_a_checkpoint(found):
    """Another finish goes on from the same checkpoint; another rate, other rows or other first weights do not."""
    digests = found["digests"]
    assert digests["finish"] == digests["same"]
    assert len({digests[what] for what in ("same", "lr", "rows", "weights")}) == 4
