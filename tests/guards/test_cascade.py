"""Two guards as one: who is asked what, whose score counts, what stands when the second fails."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.cascade import Cascade, CascadeSpec, Escalation, settled
from guards.guard import GuardError
from guards.lists import RegexGuard, RegexSpec
from guards.registry import GuardsFile, Loading, build, read
from guards.verdict import Passage, Scores, Span
from tests.fakes import BrokenGuard

SPEC = {"kind": "cascade", "first": "first", "then": "then"}


def regex(name: str, **patterns: tuple[str, float]) -> RegexGuard:
    """A guard that finds for each category a pattern with a score."""
    rules = [{"category": c, "pattern": p, "score": s} for c, (p, s) in patterns.items()]
    return RegexGuard(name, RegexSpec(patterns=rules))


def first() -> RegexGuard:
    rules = [
        {"category": "harm", "pattern": "bomb", "score": 0.95},
        {"category": "harm", "pattern": "maybe", "score": 0.5},
        {"category": "hate", "pattern": "fool", "score": 0.6},
        {"category": "pii", "pattern": "@", "score": 0.5},
    ]
    return RegexGuard("first", RegexSpec(patterns=rules))


class Counting:
    """A real guard that remembers what it was asked."""

    def __init__(self, guard):
        self._guard, self.asked = guard, []
        self.name, self.version, self.digest = guard.name, guard.version, guard.digest
        self.covers, self.most_chars = guard.covers, guard.most_chars

    def judge(self, passages):
        self.asked += [p.text for p in passages]
        return self._guard.judge(passages)


def then() -> Counting:
    return Counting(regex("then", harm=("really", 0.9), hate=("truly", 0.8), profanity=("damn", 0.9)))


def cascade(second=None, **spec) -> Cascade:
    return Cascade("both", CascadeSpec(**SPEC | spec), first(), second or then())


def scores(guard, *texts, **options):
    return [s.by_category for s in guard.judge([Passage(t, **options) for t in texts])]


def test_only_the_unsure_band_goes_to_the_second():
    """Texts that the first is sure of, either way, are never shown to the second."""
    second = then()
    both = cascade(second)
    judged = scores(both, "hello", "a bomb", "maybe", "maybe really")
    assert second.asked == ["maybe", "maybe really"]
    assert [j["harm"] for j in judged] == [0.0, 0.95, 0.0, 0.9]
    assert both.escalated == {"unsure": 2}


def test_the_second_decides_only_the_categories_that_were_unsure():
    """What the first was sure of keeps its score, whatever the second says of it."""
    judged = scores(cascade(), "a bomb, you fool", "maybe truly")
    assert judged[0]["harm"] == 0.95  # the second sees no harm in it, and was not asked about harm
    assert judged[0]["hate"] == 0.0  # .6 by the first, and the second's to decide
    assert judged[1]["hate"] == 0.0  # sure by the first; the second's .8 was not asked for
    assert judged[1]["pii"] == 0.0


def test_it_covers_what_the_first_covers():
    """A category that only the second judges would have no score most of the time: it is not covered."""
    both = cascade()
    assert both.covers("input") == {"harm", "hate", "pii"}
    assert all(j.keys() == both.covers("input") for j in scores(both, "hello", "maybe damn"))


def test_each_category_may_have_its_own_band():
    """Bands are by category; a category without one is never escalated."""
    second = then()
    both = cascade(second, band={"harm": [0.9, 1.0]})
    assert [j["harm"] for j in scores(both, "a bomb", "maybe", "fool")] == [0.0, 0.5, 0.0]
    assert second.asked == ["a bomb"]


@pytest.mark.parametrize(
    ("band", "why"),
    [({"pii": [0.2, 0.8]}, r"first and then do not both judge \['pii'\]"), ({"profanity": [0, 1]}, "profanity")],
)
def test_a_band_needs_both_guards(band, why):
    """A band for a category that one of the two does not judge is a fault."""
    with pytest.raises(GuardError, match=why):
        cascade(band=band)
    with pytest.raises(GuardError, match="do not both judge anything"):
        Cascade("both", CascadeSpec(**SPEC), first(), regex("then", profanity=("damn", 1)))


def test_a_sample_is_the_same_every_time():
    """About the share asked for is sampled, the same texts each time, others with another seed."""
    texts = [f"text number {i}" for i in range(4000)]

    def sampled(**spec):
        second = then()
        scores(cascade(second, **spec), *texts)
        return second.asked

    one = sampled(sample=0.05)
    assert 120 < len(one) < 280
    assert sampled(sample=0.05) == one
    assert {*sampled(sample=0.05, seed=1)} != {*one}
    assert sampled(sample=0) == []
    assert sampled(sample=1) == texts


def test_of_a_sampled_text_the_second_decides_all_it_judges():
    """The sample is there to find what the first is wrong about: both its misses and its false alarms."""
    judged = scores(cascade(sample=1.0), "bomb", "really", "a@b")
    assert [j["harm"] for j in judged] == [0.0, 0.9, 0.0]
    assert judged[2]["pii"] == 0.5  # the second does not judge it


def test_an_answer_is_sampled_whole_or_not_at_all():
    """All segments of an answer share its prompt's fate, so that a stream is not sampled over and over."""
    both = cascade(sample=0.5)
    for prompt in map(str, range(20)):
        fates = {
            both.escalation(Passage("so " * n, "response", prompt), Scores({"harm": 0.0})) is None for n in range(9)
        }
        assert len(fates) == 1


def test_when_the_second_fails_what_the_first_was_sure_of_stands():
    """Unsure categories are left without a score, for `on_error`; sure ones are judged as ever."""
    broken = BrokenGuard({"harm": "x", "hate": "y"}, name="then")
    both = cascade(broken, sample=1.0)
    assert scores(both, "maybe @", "bomb") == [{"hate": 0.0, "pii": 0.5}, {"harm": 0.95, "hate": 0.0, "pii": 0.0}]
    assert both.escalated["failed"] == 2


def test_when_the_first_fails_the_cascade_fails():
    """Without the first nobody has judged."""
    both = Cascade("both", CascadeSpec(**SPEC), BrokenGuard({"harm": "x"}, name="first"), then())
    with pytest.raises(GuardError, match="on purpose"):
        both.judge([Passage("hello")])


def test_the_digest_names_both_and_how():
    """Another guard on either side, another band or another sample is another digest."""
    digests = {
        cascade().digest,
        cascade(band=(0.1, 0.8)).digest,
        cascade(sample=0.1).digest,
        cascade(regex("then", harm=("other", 0.9))).digest,
    }
    assert len(digests) == 4
    assert cascade().version == "1+1"


@given(st.data())
def test_settled_scores_are_those_of_one_of_the_two(data):
    """For any scores, each category has the score of whoever decides it, and none other is there."""
    probability = st.floats(0, 1)
    categories = ["harm", "hate", "pii"]
    one = Scores({c: data.draw(probability) for c in categories}, (Span(0, 1, "harm"), Span(1, 2, "pii")))
    asked = frozenset(data.draw(st.sets(st.sampled_from(categories))))
    unsure = frozenset(c for c in asked if random.Random(c).random() < 0.5)
    given_ = {c: data.draw(probability) for c in data.draw(st.sets(st.sampled_from(categories)))}
    other = data.draw(st.sampled_from([None, Scores(given_, (Span(5, 6, "harm"),))]))
    found = settled(one, other, Escalation(unsure, asked))
    for c in categories:
        if other is None:
            assert found.by_category.get(c) == (None if c in unsure else one.by_category[c])
        else:
            assert found.by_category.get(c) == (other.by_category.get(c) if c in asked else one.by_category[c])
    marked = other is not None and "harm" in asked
    assert (Span(5, 6, "harm") in found.spans) == marked
    assert (Span(0, 1, "harm") in found.spans) == (not marked and (other is not None or "harm" not in unsure))


FILE = """
guards:
  cheap: {kind: regex, patterns: [{category: harm, pattern: bomb, score: 0.5}]}
  dear: {kind: keywords, lists: {harm: [bomb]}}
  both: {kind: cascade, first: cheap, then: dear, sample: 0.1}
"""


def test_by_name_from_a_guards_file(tmp_path):
    """A cascade is over guards of the file or guards that ship, in any order of the file."""
    path = tmp_path / "guards.yaml"
    path.write_text(FILE)
    guards = build(read(path), Loading(), ["both"])
    assert guards.keys() >= {"cheap", "dear", "both"}
    assert guards["both"].judge([Passage("bomb")])[0].by_category == {"harm": 1.0}


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"first": "default", "then": "nonesuch"}, "'nonesuch', which is no guard"),
        ({"first": "default", "then": "default"}, "'default' twice"),
        ({"first": "default", "then": "c"}, "a cascade itself"),
        ({"first": "default", "then": "patterns", "band": [0.8, 0.2]}, "lower one first"),
    ],
)
def test_a_cascade_over_nothing_is_a_fault_of_the_file(tmp_path, spec, why):
    """Names and bands are checked when the file is read."""
    with pytest.raises(ValueError, match=why):
        GuardsFile.model_validate({"guards": {"c": {"kind": "cascade"} | spec}})
