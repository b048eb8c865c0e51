"""Figures of LLMs: intervals, rankings, judges, refusals. Pure."""

import numpy as np
import pytest

from training.evaluate_llm import Asked, flipped, in_other_words, refusals, taken, with_shots
from training.llm import judging
from training.llm.gates import check, gates
from training.llm.intervals import mean, strengths, win_rate
from training.llm.refusals import declines


def test_strengths_come_back():
    """Rankings drawn from known strengths give them back, each within its interval's width."""
    random = np.random.default_rng(0)
    true = {"a": 4.0, "b": 2.0, "c": 1.0}
    rankings = []
    for _ in range(400):
        times = {name: random.exponential(1 / s) for name, s in true.items()}  # races of these are Bradley and Terry's
        rankings.append({name: 1 + sorted(times, key=times.get).index(name) for name in true})
    found = strengths(rankings)
    wanted = {name: s / 2 / (s / 2 + 1) for name, s in true.items()}  # 2 is their geometric mean
    assert all(abs(found[n].value - wanted[n]) < found[n].high - found[n].low < 0.1 for n in true)
    assert found["a"].value > found["b"].value > found["c"].value


def test_always_first_is_finite():
    """Who was always placed first gets a strength below certainty, and a tie gives even chances."""
    assert 0.5 < strengths([{"a": 1, "b": 2}] * 5)["a"].value < 1
    assert strengths([{"a": 1, "b": 1}])["a"].value == pytest.approx(0.5)


def test_ties_count_half():
    """A win rate counts a tie as half, and has an interval around it."""
    found = win_rate([1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 1.0])
    assert found.value == 0.5
    assert found.low < 0.5 < found.high


def test_no_mean_of_nothing():
    """Of no values there is no mean."""
    with pytest.raises(ValueError, match="nothing"):
        mean([])


@pytest.mark.parametrize(
    ("answer", "declined"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I’m sorry, I cannot assist.", True),
        ("As an AI language model, I do not have opinions and cannot say.", True),
        ("That's illegal, so no.", True),
        ("", True),
        ("I'm sorry to hear that! Try a warm bath.", False),
        ("First, cut the onions. You can't go wrong.", False),
        ("I don't know the exact date, but it was in May.", False),
    ],
)
def test_declining(answer, declined):
    """How an answer begins says whether it declines; sympathy and 'you can't' are no refusals."""
    assert declines(answer) is declined


class Favours:
    """A judge with a rule: a place, or whichever answer holds a word."""

    def __init__(self, rule):
        self._rule = rule

    def answer(self, dialogues):
        return [self._rule(*d[0]["content"].split("Answer A: ")[1].split("Answer B: ")) for d in dialogues]


ASKED = [[{"role": "user", "content": "Hello?"}]] * 3


def test_a_judge_that_favours_a_place_decides_nothing():
    """Who always says A gives a tie, since each pair is asked in both orders."""
    assert judging.compare(Favours(lambda a, b: "A"), ASKED, ["x"] * 3, ["y"] * 3).points == [0.5] * 3


def test_a_judge_that_reads_decides():
    """The better answer wins wherever it stands."""
    by_word = Favours(lambda a, b: "Answer A." if "good" in a else "b")
    assert judging.compare(by_word, ASKED, ["good"] * 3, ["bad"] * 3).points == [1.0] * 3
    assert judging.compare(by_word, ASKED, ["bad"] * 3, ["good"] * 3).points == [0.0] * 3


def test_what_cannot_be_read_is_no_verdict():
    """A reply of another form is left out and counted, not taken for a tie."""
    found = judging.compare(Favours(lambda a, b: "Both are great!"), ASKED, ["x"] * 3, ["y"] * 3)
    assert (found.points, found.unreadable) == ([], 3)


def test_refusals_by_label():
    """Declining harmful prompts and harmless ones are two figures; prompts without a label are a third."""
    rows = [
        {"prompt": "a", "response": None, "labels": {"harm": 1}},
        {"prompt": "b", "response": "Gladly.", "labels": {"harm": 0}},
        {"messages": [{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]},
        {"prompt": "a", "response": None, "labels": {"harm": 1}},
    ]
    asked = taken(rows)
    assert [(q.wanted, q.harmful) for q in asked] == [("", True), ("Gladly.", False), ("d", None)]
    found = refusals(asked, ["I cannot help.", "Sure.", "No idea."])
    assert [found[k]["value"] for k in ("refusal", "over_refusal", "declined")] == [1.0, 0.0, 0.0]


def test_gates_stop_what_is_worse():
    """A candidate that does more harm, or earns less, beyond its interval is stopped; one as good as before is not."""
    serving = np.random.default_rng(0).random(200) * 0.2
    assert check("harm", serving, serving)["passed"]
    assert check("harm", serving - 0.1, serving)["passed"]
    assert not check("harm", serving + 0.1, serving)["passed"]
    assert not check("reward_model", serving - 0.1, serving)["passed"]
    assert not check("over_refusal", serving < 0.15, serving < 0)["passed"]
    assert gates([check("harm", serving, serving)])["passed"]
    assert not gates([check("harm", serving, serving), check("harm", serving + 0.1, serving)])["passed"]
    assert not gates([])["passed"]


def test_examples_come_before():
    """Examples are earlier turns of the same dialogue."""
    one, other = (Asked(({"role": "user", "content": c},), c.upper()) for c in "ab")
    assert [m["content"] for m in with_shots([one], other)] == ["a", "A", "b"]


def test_other_words_for_a_prompt():
    """The last turn alone is said otherwise; a prompt declined in one wording counts once."""
    asked = Asked(({"role": "user", "content": "Hi"}, {"role": "user", "content": "Where can I buy it?"}))
    found = [in_other_words(n, asked) for n in range(4)]
    assert {m[0]["content"] for m in found} == {"Hi"}
    assert len({m[1]["content"] for m in found} | {"Where can I buy it?"}) == 5
    assert flipped(["I can't help with that.", "Yes."], ["Sure.", "Yes, gladly."]).value == 0.5
