"""The lexical part says the same wherever it is computed, and does not lose what it was shown."""

import json

import pytest

PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np, torch
from guards.classifier import Classifier
from guards.verdict import Passage
from guards.windows import Window, pad
from training import wide
from training.network import from_onnx

random = np.random.default_rng(0)
ids = [random.integers(104, 30522, random.integers(3, 60)) for _ in range(40)]
ids = [np.concatenate([[101], i, i[: nth % 3], [102]]) for nth, i in enumerate(ids)]  # words that come twice, too
types = [np.r_[np.zeros(4), np.ones(len(i) - 4)] if nth % 2 else np.zeros(len(i)) for nth, i in enumerate(ids)]
windows = [Window(nth, i.astype(np.int64), t.astype(np.int64)) for nth, (i, t) in enumerate(zip(ids, types))]
part = wide.Wide(3)
part.table.copy_(torch.from_numpy(random.normal(size=part.table.shape).astype(np.float32)) ** 2)
inputs = {name: torch.from_numpy(value) for name, value in pad(windows).items()}
kinds, mask = inputs["token_type_ids"], inputs["attention_mask"]
judged = (kinds == kinds.amax(1, keepdim=True)) & (mask > 0)
in_torch = part(inputs["input_ids"], judged).numpy()
in_numpy = wide.logits(windows, part.table.numpy())

folder = Path(sys.argv[1])
passages = [Passage("How do I rob a bank, version aaa?"), Passage("aaa " * 90, "response", "How do I learn chess?")]
backends = {b: Classifier(folder, backend=b).logits(passages).tolist() for b in ("onnxruntime", "openvino")}
manifest = json.loads((folder / "guard.json").read_text())
network = from_onnx(folder / "model.onnx", manifest["architecture"], list(manifest["heads"]))
print(json.dumps({
    "torch_numpy": float(np.abs(in_torch - in_numpy).max()),
    "empty": wide.logits([Window(0, np.array([101, 102]), np.array([0, 0]))], part.table.numpy()).tolist(),
    "backends": backends,
    "weighs": float(network.wide.table[:, :-1].abs().max()),
    "shares": json.loads((folder / "metrics.json").read_text())["shares"],
}))
"""


@pytest.fixture(scope="module")
def found(train, trained):
    return json.loads(train("-c", PROGRAM, str(trained)).stdout)


def test_torch_and_numpy_agree(found):
    """What is trained on in numpy is what the network computes: the same keys, each once, of the judged segment."""
    assert found["torch_numpy"] < 1e-4


def test_no_words_no_opinion(found):
    """A text without words has a lexical logit of zero, not of infinity."""
    assert found["empty"] == [[0.0, 0.0, 0.0]]


def test_both_backends_agree(found):
    """Hashed keys are exact in OpenVINO's 32-bit integers: both backends give the same logits but for bf16."""
    ours, theirs = (found["backends"][b] for b in ("onnxruntime", "openvino"))
    assert ours == [pytest.approx(row, rel=0.02, abs=0.05) for row in theirs]


def test_the_lexical_part_is_in_the_guard(found):
    """Held-out rows give the lexical part a weight above zero, and it is in the exported file."""
    assert found["weighs"] > 0
    assert all(min(deep, lexical) >= 0 for deep, lexical in found["shares"])
