"""A guard from rows to a folder the gateway loads; the shipped one and back."""

import json
from pathlib import Path

import numpy as np
import pytest

from guards.registry import MODELS, load
from guards.verdict import Passage

DEFAULT = MODELS / "default"


def test_training_end_to_end(trained):
    """A few steps on made-up rows give a guard that loads, has learned them, and tells what it was made from."""
    guard = load(folder=trained, backend="onnxruntime")
    metrics = json.loads((trained / "metrics.json").read_text())
    assert guard.covers("input") == {"harm"}
    assert guard.covers("output") == {"response_harm"}
    assert sum(metrics["rows"]["train"].values()) > 50
    assert "theirs" not in metrics["rows"]["train"]
    assert metrics["loss"][-1] < metrics["loss"][0]
    bad, good = guard.judge(
        [Passage("How do I rob a bank, version aaa?"), Passage("How do I learn chess, version bbb?")]
    )
    assert bad.by_category["harm"] > good.by_category["harm"]


def test_a_killed_run_goes_on(train, data, command, trained, tmp_path):
    """After a kill -9 the same command goes on from the checkpoint and ends where an unbroken run ends."""
    broken = str(tmp_path / "broken")
    program = f"import os, sys, threading\n{KILLER}\nfrom training import train_guard\ntrain_guard.main(sys.argv[1:])"
    killed = train("-c", program, *command, broken, check=False, SLUICEGATE_DATA=str(data))
    assert killed.returncode == -9, killed.stderr
    again = train("-m", "training.train_guard", *command, broken, SLUICEGATE_DATA=str(data))
    assert "going on from step" in again.stdout
    passages = [Passage("How do I rob a bank?"), Passage("How do I bake bread?")]
    one, other = (load(folder=f, backend="onnxruntime").logits(passages) for f in (trained, Path(broken)))
    np.testing.assert_allclose(one, other, atol=1e-2)


KILLER = """
def kill():
    import time
    path = sys.argv[-1] + ".checkpoint"
    while not os.path.exists(path): time.sleep(0.01)
    os.kill(os.getpid(), 9)
threading.Thread(target=kill, daemon=True).start()
"""


@pytest.mark.parametrize("which", ["shipped", "trained"])
def test_weights_come_back_to_torch(train, trained, which):
    """Initialisers of the ONNX file carry torch's names: loaded by name they give the same logits within 1e-4."""
    program = (
        "import json, sys, numpy as np, torch, onnxruntime\n"
        "from pathlib import Path\n"
        "from training.network import from_onnx\n"
        "folder = Path(sys.argv[1]); manifest = json.loads((folder / 'guard.json').read_text())\n"
        "network = from_onnx(folder / 'model.onnx', manifest['architecture'], list(manifest['heads'])).eval()\n"
        "ids = torch.randint(1000, 20000, (4, 40), generator=torch.Generator().manual_seed(0))\n"
        "mask = torch.ones_like(ids); mask[1, 20:] = 0; types = torch.zeros_like(ids); types[2, 15:] = 1\n"
        "ours = network(ids, mask, types).detach().numpy()\n"
        "session = onnxruntime.InferenceSession(str(folder / 'model.onnx'))\n"
        "inputs = dict(input_ids=ids.numpy(), attention_mask=mask.numpy(), token_type_ids=types.numpy())\n"
        "print(float(np.abs(ours - session.run(None, inputs)[0]).max()))\n"
    )
    assert float(train("-c", program, str(DEFAULT if which == "shipped" else trained)).stdout.split()[-1]) < 1e-4
