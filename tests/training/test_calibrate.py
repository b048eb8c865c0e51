"""Operating points and figures, computed where scikit-learn is."""

import json

import pytest

PROGRAM = """
import json, numpy as np
from training.calibrate import fit_head
from training.metrics import compare, measure
random = np.random.default_rng(0)
labels = np.repeat([0, 1], 2000)
logits = 3 * random.normal(size=4000) + 4 * labels - 6
platt, figures = fit_head(logits, labels, operating_fpr=0.05)
scores = platt(logits)
noise = random.random(4000)
print(json.dumps({
    "figures": figures,
    "at_half": float((scores[labels == 0] >= 0.5).mean()),
    "rising": bool((np.diff(scores[np.argsort(logits)]) >= 0).all()),
    "perfect": measure(labels.astype(float), labels, draws=2),
    "ties": measure(np.ones(4000), labels, draws=2)["recall_at_1pct_fpr"]["value"],
    "measured": measure(scores, labels, draws=50),
    "gap": compare(scores, noise, labels, draws=50)["auprc"],
}))
"""


@pytest.fixture(scope="module")
def found(train):
    return json.loads(train("-c", PROGRAM).stdout)


def test_a_half_is_the_operating_point(found):
    """At .5 the chosen share of negatives is flagged, and scores rise with the logit."""
    assert found["at_half"] == pytest.approx(0.05, abs=0.005)
    assert found["figures"]["false_positives_at_half"] == pytest.approx(0.05, abs=0.005)
    assert found["rising"]


def test_platt_scaling_lowers_the_calibration_error(found):
    """Scaled scores are closer to frequencies than raw ones."""
    assert found["figures"]["ece_platt"] < found["figures"]["ece_raw"] / 2


def test_figures_of_known_scores(found):
    """A perfect score has area and recall of one; scores that are all equal recall nothing at one percent."""
    assert found["perfect"]["auprc"]["value"] == found["perfect"]["recall_at_1pct_fpr"]["value"] == 1
    assert found["ties"] == 0


def test_intervals_hold_the_value(found):
    """Each figure lies in its interval; a real gap between two scores has an interval above zero."""
    for name in ("auprc", "recall_at_1pct_fpr", "f1_at_half"):
        figure = found["measured"][name]
        assert figure["low"] <= figure["value"] <= figure["high"]
    assert found["gap"]["low"] > 0
