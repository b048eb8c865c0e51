"""Agreement statistics against worked examples that their authors published."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.review.agreement import agreement, cohen, fleiss, krippendorff, raw

FLEISS_1971_STYLE = np.array(  # ten subjects, fourteen raters, five categories: the usual textbook table
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ],
    np.float64,
)


def test_fleiss_kappa_of_the_textbook_table():
    """Kappa is .210 with an observed agreement of .378, as published."""
    assert raw(FLEISS_1971_STYLE) == pytest.approx(0.378, abs=5e-4)
    assert fleiss(FLEISS_1971_STYLE) == pytest.approx(0.210, abs=5e-4)


def test_cohen_kappa_of_the_textbook_table():
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: kappa is .40, as published."""
    rows = [[1, 0, 1, 0]] * 20 + [[1, 0, 0, 1]] * 5 + [[0, 1, 1, 0]] * 10 + [[0, 1, 0, 1]] * 15
    assert cohen(np.array(rows, np.float64)) == pytest.approx(0.40, abs=5e-4)


def test_krippendorff_alpha_of_his_own_example():
    """Four observers, twelve units with gaps, five nominal values: alpha is .743 (Krippendorff 2011, example C)."""
    observers = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
    columns = ["".join(o[u] for o in observers if o[u] != ".") for u in range(12)]
    counts = np.array([[c.count(v) for v in "12345"] for c in columns if len(c) >= 2], np.float64)
    assert krippendorff(counts) == pytest.approx(0.743, abs=5e-4)


def test_a_figure_has_a_value_within_its_interval():
    """Two people who mostly agree on two labels have all four figures, each inside its interval."""
    ratings = {f"i{n}": {"ann": "ok" if n % 3 else "harmful", "bo": "ok" if n % 3 or n == 9 else "harmful"}
               for n in range(60)}  # fmt: skip
    found = agreement(ratings, draws=200)
    for figure in (found.raw, found.cohen, found.fleiss, found.krippendorff):
        assert figure.items == 60
        assert figure.low <= figure.value <= figure.high
    assert found.raw.value == pytest.approx(59 / 60)
    assert found.prevalence["ok"] == pytest.approx(81 / 120)


@pytest.mark.parametrize(
    ("ratings", "reason"),
    [
        ({}, "0 items"),
        ({"one": {"ann": "ok", "bo": "ok"}}, "1 items"),
        ({f"i{n}": {"ann": "ok"} for n in range(50)}, "0 items"),
        ({f"i{n}": {"ann": "ok", "bo": "ok"} for n in range(50)}, "one and the same label"),
    ],
)
def test_a_reason_in_place_of_a_number(ratings, reason):
    """Too few items, nobody in common, or one label only: the figure says why it has no value."""
    found = agreement(ratings, draws=10).krippendorff
    assert found.value is None
    assert reason in found.reason


LABELS = st.sampled_from(["ok", "harmful", "unsure"])


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=3), st.dictionaries(st.sampled_from("abcd"), LABELS), max_size=30))
def test_no_figure_is_ever_nan(ratings):
    """Whatever people decided, a figure is a number of at most 1 or a reason."""
    found = agreement(ratings, draws=5)
    for figure in (found.raw, found.cohen, found.fleiss, found.krippendorff):
        assert (figure.value is None) == (figure.reason is not None)
        assert figure.value is None or (figure.value <= 1 and figure.low <= figure.high)
