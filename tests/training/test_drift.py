"""Drift is found where it was planted, and not where there is none."""

import json
import re

import numpy as np
import pytest

from training.drift import discrepancy, exposition, load_rows, shifts, stability, window
from training.rows import DataError


def traffic(n, seed, hate=0.1, german=0.05, turned=False):
    """Exchanges of which a share is hateful and a share is German; `turned`: which scores rise together is turned."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        bad = random.random() < hate
        one = float(random.beta(6, 2) if bad else random.beta(1, 8))
        other = float(np.clip((1 - one if turned else one) + random.normal(0, 0.05), 0, 1))
        spoken = "language_de" if random.random() < german else "language_en"
        scores = {"default": {"input": {"hate": one, "toxicity": other}, "output": {}}}
        scores["language"] = {"input": {spoken: 1.0}, "output": {}}
        rows.append({"scores": scores, "categories": ["hate"] if one > 0.5 else []})
    return window(rows)


def alarmed(found):
    return {(s.name, s.series) for s in found if s.alarmed}


def test_planted_drift_is_found():
    """More hate shows in its scores, in the categories and in the scores together; more German in the languages."""
    frozen = traffic(400, 1)
    hateful = alarmed(shifts(frozen, traffic(400, 2, hate=0.5), draws=100))
    assert {("psi", "default/input/hate"), ("psi", "categories"), ("mmd", "scores")} <= hateful
    assert ("psi", "languages") not in hateful
    assert alarmed(shifts(frozen, traffic(400, 3, german=0.4), draws=100)) == {("psi", "languages")}


def test_the_same_traffic_raises_no_alarm():
    """Windows of the same traffic differ by chance alone: no alarm in ten pairs, small windows among them."""
    pairs = [
        (traffic(n, s), traffic(n, s + 100)) for s, n in enumerate((60, 60, 60, 100, 100, 200, 200, 400, 400, 400))
    ]
    assert not [a for frozen, now in pairs for a in alarmed(shifts(frozen, now, draws=100))]


def test_a_shift_of_all_scores_together():
    """When each score alone looks as before but they no longer rise together, the discrepancy of both finds it."""
    found = shifts(traffic(400, 1, hate=0.5), traffic(400, 2, hate=0.5, turned=True), draws=100)
    assert ("mmd", "scores") in alarmed(found)


def test_the_index_of_known_counts():
    """The stability index of shares .5/.5 against .9/.1 is that of its formula, and hardly by chance."""
    index, p = stability(np.array([5e6, 5e6]), np.array([9e6, 1e6]))
    assert index == pytest.approx(0.4 * np.log(1.8) - 0.4 * np.log(0.2), rel=1e-4)
    assert p < 1e-12
    assert stability(np.array([10.0, 10.0]), np.array([10.0, 10.0])) == (0.0, 1.0)


def test_the_discrepancy_has_honest_p():
    """Of a hundred pairs from one distribution about five have a p under .05."""
    random = np.random.default_rng(0)
    low = [discrepancy(random.normal(size=(30, 3)), random.normal(size=(30, 3)), n, 99)[1] < 0.05 for n in range(100)]
    assert sum(low) <= 12
    assert discrepancy(random.normal(size=(60, 3)), random.normal(1, size=(60, 3)), 0, 199)[1] < 0.01


def test_too_little_says_nothing():
    """A window of a few exchanges is refused: a quiet night is no drift."""
    with pytest.raises(DataError, match="50 of each"):
        shifts(traffic(300, 1), traffic(20, 2))


def test_metrics_for_prometheus():
    """Every figure is a line of Prometheus' text format, with its series and no other label."""
    found = shifts(traffic(100, 1), traffic(100, 2, hate=0.6), draws=50)
    lines = [line for line in exposition(found, 100).splitlines() if not line.startswith("#")]
    assert len(lines) == 2 * len(found) + 2
    assert all(re.fullmatch(r'sluicegate_drift_\w+(\{(name="\w+",)?series="[\w/]+"\})? [-+.\de]+', n) for n in lines)


def test_a_broken_frozen_window_says_what_to_do(tmp_path):
    """A file that holds no window is named, with the command that makes one."""
    path = tmp_path / "reference.json"
    path.write_text(json.dumps({"nothing": 1}))
    with pytest.raises(DataError, match="drift freeze"):
        load_rows(path)
