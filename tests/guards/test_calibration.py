"""A score of .7 means seven in ten."""

import numpy as np
import pytest

from guards.calibration import Platt, calibration_error, sigmoid


def test_sigmoid_is_exact_at_the_ends():
    """No logit overflows, however large."""
    np.testing.assert_allclose(sigmoid([-1e6, 0, 1e6]), [0, 0.5, 1])


def test_platt_maps_a_line_of_the_logit():
    """A slope and an intercept inside the logistic function, nothing else."""
    np.testing.assert_allclose(Platt(2.0, -1.0)([0.5, 1.0]), [0.5, sigmoid(1.0)])


@pytest.mark.parametrize("slope", [0.3, 1.0, 4.0])
def test_the_operating_logit_is_a_half(slope):
    """After the shift the chosen logit has probability .5, and the order of scores is kept."""
    shifted = Platt(slope, 0.7).shifted(1.3)
    assert shifted(1.3) == pytest.approx(0.5)
    assert list(np.argsort(shifted([3, -1, 2]))) == [1, 2, 0]


def test_a_calibrated_score_has_no_error():
    """Outcomes as frequent as their scores say give an error near zero; the opposite gives one near .8."""
    scores = np.repeat([0.1, 0.9], 100)
    labels = np.array(([0] * 90 + [1] * 10) + ([1] * 90 + [0] * 10))
    assert calibration_error(scores, labels) == pytest.approx(0, abs=1e-9)
    assert calibration_error(1 - scores, labels) == pytest.approx(0.8)


def test_calibration_error_refuses_what_does_not_fit():
    """Scores and labels of different length, or none at all, are an error and not a zero."""
    with pytest.raises(ValueError, match="one label"):
        calibration_error([0.5], [1, 0])
    with pytest.raises(ValueError, match="at least one"):
        calibration_error([], [])
