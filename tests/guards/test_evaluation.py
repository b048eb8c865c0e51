import gzip
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, roc_auc_score

from guards.calibration import calibration_error
from guards.evaluation import bias, floor, plots, report, rows
from guards.evaluation.audit import audited
from guards.evaluation.evaluate import Plan, evaluate
from guards.evaluation.metrics import Ranking, compare, measure, numbered, resampled, wilson
from tests.fakes import WordGuard

SCORED = st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=80).filter(
    lambda pairs: len({label for _, label in pairs}) == 2
)


def arrays(pairs):
    return np.array([score / 20 for score, _ in pairs]), np.array([int(label) for _, label in pairs])


@given(SCORED)
@settings(max_examples=60)
def test_the_metrics_are_those_of_scikit_learn(pairs):
    """On any scores, ties included, every metric equals scikit-learn's or the one guards calibrate by."""
    scores, labels = arrays(pairs)
    values = Ranking(scores, labels).values(0.5)
    precision, recall, _ = precision_recall_curve(labels, scores)
    best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
    assert values["auprc"] == pytest.approx(average_precision_score(labels, scores))
    assert values["auroc"] == pytest.approx(roc_auc_score(labels, scores))
    assert values["f1_at_threshold"] == pytest.approx(f1_score(labels, scores >= 0.5, zero_division=0))
    assert values["best_f1"] == pytest.approx(best)
    assert values["ece"] == pytest.approx(calibration_error(scores, labels))


@given(SCORED, st.integers(0, 1000))
@settings(max_examples=60)
def test_a_draw_is_what_the_repeated_rows_would_be(pairs, seed):
    """The metrics of weighted rows equal those of rows that are there as often."""
    scores, labels = arrays(pairs)
    times = next(resampled(len(labels), None, seed, 1))
    again = np.repeat(np.arange(len(labels)), times.astype(int))
    weighted = Ranking(scores, labels).values(0.5, times)
    if len(set(labels[again])) < 2:
        assert weighted is None
    else:
        assert weighted == pytest.approx(Ranking(scores[again], labels[again]).values(0.5))


def test_recall_counts_ties_as_false_alarms():
    """A threshold that would let one more negative through than allowed is not used."""
    scores = np.array([0.9, 0.8, 0.8, 0.7] + [0.1] * 99)
    labels = np.array([1, 1, 0, 1] + [0] * 99)
    assert Ranking(scores, labels).curve().recall_at(0.0) == pytest.approx(1 / 3)
    assert Ranking(scores, labels).curve().recall_at(0.01) == 1


def test_groups_widen_intervals():
    """Rows that are copies of each other count as one: drawn by group, the interval is wider."""
    random = np.random.default_rng(1)
    labels = np.tile(np.repeat([0, 1], 20), 25)
    scores = np.tile(random.random(40) * 0.6 + np.repeat([0, 0.4], 20), 25)
    alone = measure(scores, labels, draws=200)["auprc"]
    grouped = measure(scores, labels, groups=np.tile(np.arange(40), 25), draws=200)["auprc"]
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)
    assert alone.low <= alone.value <= alone.high


def test_a_difference_is_paired():
    """Of two guards with the same scores the difference is 0, interval and all."""
    scores, labels = np.linspace(0, 1, 40), np.tile([0, 1], 20)
    gap = compare(scores, scores, labels, draws=50)["auprc"]
    assert (gap.value, gap.low, gap.high) == (0, 0, 0)
    better = compare(labels * 0.9, scores, labels, draws=50)["auroc"]
    assert 0 < better.low <= better.value


def test_a_single_label_has_no_ranking():
    """Metrics that need both labels are refused, not made up."""
    with pytest.raises(ValueError, match="both labels"):
        measure(np.array([0.1, 0.2]), np.array([1, 1]))
    with pytest.raises(ValueError, match="one label a score"):
        Ranking(np.array([0.1]), np.array([0, 1]))


def test_wilson_is_honest_at_the_ends():
    """None of a hundred is not certainly none."""
    assert wilson(0, 100).high == pytest.approx(0.037, abs=0.001)
    assert wilson(50, 100).low == pytest.approx(0.404, abs=0.001)
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)


def write(path, lines):
    body = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_bytes(gzip.compress(body.encode()) if path.suffix == ".gz" else body.encode())
    return path


def line(prompt, response=None, **labels):
    return {"prompt": prompt, "response": response, "labels": labels, "source": "made", "license": "MIT"}


def test_a_label_is_about_the_text_that_is_judged_for_it(tmp_path):
    """A response is judged where the guard judges it; a label that no guard judges there is counted, never dropped."""

    class Prompts(WordGuard):
        def covers(self, stage):
            return frozenset({"harm", "hate"}) if stage == "input" else frozenset({"hate"})

    path = write(tmp_path / "a.jsonl.gz", [line("a", "b", harm=1, hate=0), line(None, "c", harm=1), line("d", odd=1)])
    found, left = rows.tasks(rows.read(path), Prompts({"harm": "x", "hate": "y"}))
    assert [(p.text, p.kind) for p in found["harm"].passages] == [("a", "prompt")]
    assert [(p.text, p.kind, p.prompt) for p in found["hate"].passages] == [("b", "response", "a")]
    assert left == {"harm": 1, "odd": 1}


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("{", "a.jsonl:1: not a labelled line"),
        ('{"prompt": "a"}', "labels"),
        ('{"prompt": "a", "labels": {"harm": 2}}', "neither 0 nor 1"),
        ('{"prompt": "", "labels": {"harm": 1}}', "holds text"),
        ("", "is empty"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, body, fault):
    """A set that cannot be read is refused with file, line and fault."""
    (tmp_path / "a.jsonl").write_text(body)
    with pytest.raises(rows.SetError, match=re.escape(fault)):
        rows.read(tmp_path / "a.jsonl")


@pytest.fixture(scope="module")
def lines():
    """Sixty texts; the odd ones ask for the bad thing in words of which the guard knows one."""
    words = ("storm", "flood", "quake")
    return [
        rows.Line(
            f"text {i} about a {words[i % 3] if i % 2 else 'garden'} in town {i % 7}",
            "",
            {"harm": i % 2},
            {"source": f"s{i % 2}", "group": str(i // 2), "language": ("en", "de")[i % 3 == 0]},
        )
        for i in range(60)
    ]


@pytest.fixture(scope="module")
def result(lines):
    guard, other = WordGuard({"harm": "storm"}), WordGuard({"harm": "flood"}, "other")
    training = [
        *lines[:6],
        *(rows.Line(f"a {w} {i}", "", {"harm": int(w != "leaf")}, {}) for i in range(20) for w in ("storm", "leaf")),
    ]
    return evaluate(guard, {"towns": lines}, Plan(against=other, training=training, draws=20))


def test_a_guard_stands_beside_its_floors(result):
    """Every ranking is given for the guard, the other guard and both floors, with paired differences and intervals."""
    found = result.figures["sets"]["towns"]["categories"]["harm"]
    assert list(found["sides"]) == ["guard", "against", "floor_cross_validated", "floor_trained"]
    assert list(found["ahead_of"]) == ["against", "floor_cross_validated", "floor_trained"]
    assert found["sides"]["floor_cross_validated"]["auroc"]["value"] == 1
    assert found["ahead_of"]["floor_cross_validated"]["auroc"]["high"] < 0
    assert (found["rows"], found["positive"], found["groups"]) == (60, 30, 30)
    confusion = found["confusion"]
    assert (confusion["true_positive"], confusion["false_negative"], confusion["false_positive"]) == (10, 20, 0)
    assert found["by"]["language"]["values"]["en"]["rows"] == 40
    assert found["by"]["source"]["worst"] == {"value": "s1", "right": pytest.approx(1 / 3, abs=1e-4)}


def test_texts_that_may_have_been_trained_on_are_told(result):
    """A set that shares texts with the training folder says so, in the figures and to the reader."""
    assert result.figures["sets"]["towns"]["seen_in_training"] == 6
    assert "these figures flatter" in report.plain(result.figures)
    assert "(worst: s1)" in report.plain(result.figures)


def test_the_report_holds_no_text_and_loads_nothing(result, lines):
    """The HTML report needs no other file and quotes none of the judged texts."""
    page = report.html(result)
    assert not any(line.prompt in page for line in lines)
    assert page.count("data:image/svg+xml;base64,") == 3
    assert not re.search(r"(?:src|href)=\"(?!data:)|<script|@import|url\(", page)
    assert report.html(result) == page


def test_the_floor_never_sees_the_text_it_is_asked(lines):
    """A group whose text says its label is in one fold only, so the floor cannot know it."""
    texts = [rows.Line(f"w{i // 2} w{i // 2}", "", {"harm": (i // 2) % 2}, {"group": str(i // 2)}) for i in range(80)]
    task = rows.tasks(texts, WordGuard({"harm": "x"}))[0]["harm"]
    scores = floor.cross_validated(task)
    assert 0.2 < Ranking(scores, task.labels).curve().auroc() < 0.8
    alone = rows.tasks(lines[:1], WordGuard({"harm": "x"}))[0]["harm"]
    assert floor.cross_validated(alone) is None


def test_plots_are_drawn_for_any_scores():
    """Scores of one value, or outside a bin's reach, draw a plot all the same."""
    labels = np.array([0, 1, 0, 1])
    assert plots.curves(labels, {"guard": np.zeros(4), "floor_trained": np.ones(4)}).startswith("<?xml")
    assert "svg" in plots.bars({"a": 0.1, "b": 0.9}, "right")


def test_identity_terms_are_found_longest_first():
    """`African American` is one term, and a term inside a word is none."""
    assert bias.terms("An African American and a GAY man, oldish") == {"african american", "gay"}


def test_a_biased_guard_is_found():
    """A guard that scores a harmless text high because it names a group has a low BPSN AUC there, and it is named."""

    class Biased(WordGuard):
        def _scores(self, text):
            return super()._scores("bad" if "bad" in text or "muslim" in text else "")

    texts = [
        rows.Line(f"{name} {i} is {'bad' if i % 2 else 'fine'}", "", {"toxicity": i % 2}, {})
        for name in ("muslim", "jewish", "christian")
        for i in range(40)
    ]
    found = audited(Biased({"toxicity": "bad"}), texts, "toxicity", draws=20)
    assert found["worst"]["bpsn"]["subgroup"] == "muslim"
    assert found["subgroups"]["muslim"]["bpsn"]["value"] == 0.5
    assert found["subgroups"]["jewish"]["subgroup"]["value"] == 1
    assert found["worst"]["subgroup"]["share_of_overall"] < 0.9
    assert next(iter(found["subgroups"])) == "muslim"
    gaps = {kind: found["subgroups"]["muslim"][kind]["value"] for kind in bias.ODDS}
    assert gaps == {"tpr_gap": 0, "fpr_gap": 1, "equalised_odds": 1}
    assert found["subgroups"]["jewish"]["fpr_gap"]["value"] == -0.5  # of the others half is flagged
    assert found["worst"]["equalised_odds"]["subgroup"] == "muslim"
    with pytest.raises(ValueError, match="10 rows"):
        audited(Biased({"toxicity": "bad"}), texts[:12], "toxicity")
    with pytest.raises(ValueError, match="harm"):
        audited(Biased({"toxicity": "bad"}), texts, "harm")


def test_unnamed_rows_are_groups_of_their_own():
    """Rows with a name share a number, rows without one do not."""
    assert numbered(["a", "", "a", ""]).tolist() == [0, 1, 0, 2]
