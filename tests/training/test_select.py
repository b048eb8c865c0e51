"""What to label next, and what it saves."""

import json
import os
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import select as selection
from training.curves import labels_needed, plot, report
from training.rows import DataError
from training.select import Candidate, Wanted, main, select, spread
from training.simulate import Plan, Rows, drawn, simulate

ROOT = Path(__file__).parents[2]
PLACES = {"sure": 0.99, "doubtful": 0.5, "near": 0.79, "safe": 0.02}


def candidates(**more: object) -> list[Candidate]:
    return [Candidate(name, {"default": {"harm": p}, **more.get(name, {})}) for name, p in PLACES.items()]


@pytest.mark.parametrize(
    ("strategy", "first", "options"),
    [
        ("uncertainty", "doubtful", {}),
        ("margin", "doubtful", {}),
        ("threshold", "near", {"thresholds": {"harm": 0.8}}),
        ("threshold", "doubtful", {}),
    ],
)
def test_each_strategy_likes_what_it_is_for(strategy, first, options):
    """Doubt goes to the score nearest to .5, the threshold to the one nearest to the policy's."""
    chosen = select(candidates(), Wanted(strategy, count=2, random_share=0.5, **options))
    assert (chosen[0].exchange_id, chosen[0].reason, chosen[0].inclusion_probability) == (first, strategy, 1.0)
    assert (chosen[1].reason, chosen[1].inclusion_probability) == ("random", pytest.approx(1 / 3))


def test_margin_is_between_the_two_likeliest_categories():
    """With several categories a tie of the two likeliest is what margin asks about, however sure both are."""
    scores = np.array([[0.9, 0.89, 0.0], [0.5, 0.1, 0.0]])
    assert np.argmax(selection.narrow(scores)) == 0
    assert np.argmax(selection.uncertain(scores)) == 1


def test_disagreement_asks_about_what_guards_differ_on():
    """The exchange on which two guards are farthest apart comes first; one guard alone is an error."""
    other = {"safe": {"other": {"harm": 0.97}}, "sure": {"other": {"harm": 0.9}}}
    found = [c for c in candidates(**other) if "other" in c.scores]
    assert select(found, Wanted("disagreement", 1, 0.0))[0].exchange_id == "safe"
    with pytest.raises(DataError, match="two guards"):
        select(candidates(), Wanted("disagreement", 1))


def test_diversity_leaves_nothing_far_from_what_is_chosen():
    """Of three clusters of very different sizes each gets one before any gets two."""
    random = np.random.default_rng(0)
    centres = np.eye(3)
    points = np.concatenate([c + 0.05 * random.normal(size=(n, 3)) for c, n in zip(centres, (80, 15, 5), strict=True)])
    rows = [Candidate(str(n), {}, tuple(p)) for n, p in enumerate(points)]
    chosen = [int(one.exchange_id) for one in select(rows, Wanted("diversity", 3, 0.0))]
    assert sorted(int(np.argmax(points[i])) for i in chosen) == [0, 1, 2]
    assert len(set(spread(points, 50, [0, 1]))) == 50
    with pytest.raises(DataError, match="embedding"):
        select(candidates(), Wanted("mixed", 1))


@given(st.integers(1, 60), st.integers(0, 60), st.floats(0, 1), st.sampled_from(["uncertainty", "random"]))
def test_estimates_stay_unbiased(rows, count, share, strategy):
    """Nothing comes twice, no more than asked for, and one over the probabilities adds up to all there are."""
    found = [Candidate(str(n), {"default": {"harm": n / 60}}) for n in range(rows)]
    chosen = select(found, Wanted(strategy, count, share))
    assert len({one.exchange_id for one in chosen}) == len(chosen) <= count
    if any(one.reason == "random" for one in chosen):
        assert sum(1 / one.inclusion_probability for one in chosen) == pytest.approx(rows)


def test_from_file_to_file(tmp_path, capsys):
    """Candidates as the service gives them, scores by stage, become a file of what to ask about."""
    stages = {"version": "1", "digest": "d", "input": {"harm": 0.1}, "output": {"harm": 0.6, "hate": 0.2}}
    lines = [{"exchange_id": f"exc_{n}", "scores": {"default": stages}} for n in range(5)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    main(["--in", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.jsonl"), "--count", "3"])
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [one["reason"] for one in found] == ["threshold", "threshold", "random"]
    assert "3 selected" in capsys.readouterr().out
    for given_, fault in ((["--strategy", "psychic"], "give one of"), (["--guard", "none"], "may be: default")):
        with pytest.raises(DataError, match=fault):
            main(["--in", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "o"), *given_])
    (tmp_path / "in.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"in\.jsonl:1: not a candidate"):
        main(["--in", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "o")])


def rows(count: int, seed: int, turn: float) -> Rows:
    """Points on both sides of a line that is turned: a tenth of them unsafe, most of them far from the line."""
    from scipy.sparse import csr_matrix

    random = np.random.default_rng(seed)
    labels = (random.random(count) < 0.3).astype(np.int64)
    along, across = random.normal(size=count), np.where(labels == 1, 1, -1) * random.gamma(1.0, 1.0, count)
    deep = np.stack([across * np.cos(turn) - along * np.sin(turn), across * np.sin(turn) + along * np.cos(turn)], 1)
    return Rows(deep, csr_matrix(np.abs(deep)), labels)


def test_a_simulation_is_repeatable_and_asks_for_no_row_twice():
    """The same seeds give the same curves; all strategies begin alike, with labels they end better than without."""
    plan = Plan(seeds=2, budgets=(20, 40), pool=150, test=150, base=100, prevalence=0.3)
    found = simulate(rows(600, 1, 0.9), rows(200, 2, 0.0), plan)
    again = simulate(rows(600, 1, 0.9), rows(200, 2, 0.0), plan)
    assert {name: curve.shape for name, curve in found.items()} == dict.fromkeys(found, (2, 3))
    assert all((found[name] == again[name]).all() for name in found)
    assert len({tuple(curve[:, 0]) for curve in found.values()}) == 1
    assert all(curve[:, -1].mean() > curve[:, 0].mean() for curve in found.values())


def test_pool_and_test_share_nothing_and_are_of_the_prevalence():
    """What is measured on is never picked from, and both hold the share of unsafe rows that was asked for."""
    plan = Plan(pool=200, test=100, prevalence=0.1)
    numbered = Rows(np.arange(3000, dtype=np.float64)[:, None], rows(3000, 1, 0).lexical, (np.arange(3000) % 2))
    pool, test = drawn(numbered, plan, 3)
    assert not set(pool.deep[:, 0]) & set(test.deep[:, 0])
    assert (len(pool), len(test)) == (200, 100)
    assert (pool.labels.mean(), test.labels.mean()) == (0.1, 0.1)


def test_labels_needed_is_read_off_the_curve():
    """A curve that reaches random's last value half-way needs half the labels; one that never does is said so."""
    random = np.array([[0.2, 0.4, 0.6], [0.2, 0.4, 0.6]])
    fast, slow = random + np.array([0.0, 0.2, 0.2]), random - 0.3
    assert labels_needed(fast, random, (50, 100)) == pytest.approx(0.5)
    assert labels_needed(random, random, (50, 100)) == pytest.approx(1.0)
    assert labels_needed(slow, random, (50, 100)) == float("inf")
    made = report({"s": {"random": random, "fast": fast, "slow": slow}}, (50, 100), draws=50)
    assert (made["best"], made["mean_share"]) == ("fast", {"fast": 0.5})
    assert made["sources"]["s"]["slow"]["labels_needed"] == {"value": None, "low": None, "high": None}
    assert plot(made).count("<svg") == 1


def test_learning_curves_are_measured_and_drawn(train, tmp_path):
    """The program embeds with a guard's frozen encoder, once, and writes curves, shares and a plot.

    With SLUICEGATE_PROVE=1: the full count on the real data, into bench/results.
    """
    if os.environ.get("SLUICEGATE_PROVE"):
        train("-m", "training.simulate", "--out", str(ROOT / "bench/results/learning_curves.json"), "--seeds", "10")
        return
    (tmp_path / "train").mkdir()
    lines = [
        {
            "prompt": f"{verb} the {noun} {n}",
            "labels": {"harm": int(verb == "burn")},
            "source": source,
            "license": "MIT",
        }
        for source in ("toxigen_human", "AegisTrainR")
        for verb in ("burn", "paint")
        for noun in ("house", "car", "barn", "boat")
        for n in ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    ]
    random = Random(1)
    lines = [line | {"prompt": f"{line['prompt']} {random.choice('abcdefgh') * 3}"} for line in lines]
    (tmp_path / "train" / "made_up.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = ["--source", "toxigen_human", "--seeds", "1", "--rounds", "2", "--prevalence", "0.5"]
    options += ["--out", str(tmp_path / "curves.json"), "--encoder", str(ROOT / "guards" / "models" / "default")]
    places = {"SLUICEGATE_DATA": str(tmp_path), "SLUICEGATE_HOME": str(tmp_path / "home")}
    train("-m", "training.simulate", *options, **places)
    made = json.loads((tmp_path / "curves.json").read_text())
    assert made["budgets"] == [10, 20]
    assert len(made["sources"]["toxigen_human"]["mixed"]["auprc"]) == 3
    assert "<svg" in (tmp_path / "curves.svg").read_text()
    assert len(list((tmp_path / "home" / "cache" / "embeddings").iterdir())) == 1
