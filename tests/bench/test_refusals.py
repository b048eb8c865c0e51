from random import Random

import pytest

from bench.hard import PROMPTS
from bench.refusals import Ask, figures, joined, seen, untrained, within
from service.judges import BatchedJudges
from service.rehearsal.gate import Effect, Rehearsed
from service.telemetry.metrics import Metrics
from tests.fakes import WordGuard
from tests.rehearsal.conftest import WORDS, policy
from training.near import Seen
from training.rows import Row


def outcome(stopped_at=None, refused_input=False):
    effects = {
        "input": Effect("refuse", found={"harm": "refuse"}) if refused_input else Effect(),
        "output": Effect("refuse", found={"hate": "refuse"}) if stopped_at is not None else Effect(),
    }
    return Rehearsed(effects, (), "", stopped_at)


def test_refusals_are_counted_by_length():
    """An answer counts at every length it has, as refused from the length on at which it was stopped."""
    passed = [
        (Ask("a", "x" * 4000), outcome(900)),
        (Ask("a", "x" * 4000), outcome()),
        (Ask("a", "x" * 100), outcome(60)),
    ]
    assert [within(n, passed)["answers"] for n in (25, 200, 1000, 2000)] == [3, 2, 2, 0]
    assert [within(n, passed)["refused"]["count"] for n in (25, 200, 1000)] == [1, 0, 1]


def test_an_exchange_is_refused_once():
    """Input and output refusals are told apart, with what they were for; an unjudged answer is not an allowed one."""
    asks = [Ask("a", "x" * 4000)] * 3
    told = figures("hard_prompts", asks, [outcome(900), outcome(refused_input=True), outcome()])
    assert (told["refused"]["count"], told["refused_input"], told["target"]) == (2, 1, 0.02)
    assert (told["refused_output"]["count"], told["within_tokens"]["1000"]["answers"]) == (1, 2)
    assert told["categories"] == {"output.hate": 1, "input.harm": 1}


async def test_exchanges_go_through_the_gate():
    """What the bench counts is what the gate did, and where it stopped the answer."""
    async with BatchedJudges([WordGuard(WORDS)], Metrics()) as judges:
        fine, cut, barred = await seen(
            judges,
            policy(lookahead_chars=0, most_segment_chars=64),
            [Ask("hello", "y" * 300), Ask("hello", "y" * 200 + "flood" + "y" * 300), Ask("a storm", "y")],
        )
    assert not fine.effect.blocked
    assert 205 <= cut.stopped_at <= 205 + 64
    assert barred.effects["input"].blocked


def test_long_answers_share_nothing():
    """Each answer is part of one joined answer only, and every joined one has its full length."""
    rows = [Row(f"{i:03} " * 200, {"response_harm": 0}, "s", "MIT", f"prompt {i}", True) for i in range(50)]
    made = joined(rows, Random(1), chars=2000)
    assert len(made) == 16
    assert all(len(ask.answer) == 2000 for ask in made)
    heads = [part[:3] for ask in made for part in ask.answer.split("\n\n")]
    assert len(heads) == len(set(heads))


def test_hard_prompts_are_no_training_rows():
    """Each hard prompt is there once, and one that a machine row nearly equals is left out."""
    assert len(PROMPTS) == len(set(PROMPTS)) > 150
    twice = Seen()
    for prompt in PROMPTS:
        assert twice.near(prompt) is None, prompt
        twice.add(prompt)


@pytest.mark.parametrize("count", [200])
def test_what_a_recipe_makes_is_left_out(count):
    """A prompt that the templates make too is none of the bench's."""
    from training.synthesize import synthesize

    row = synthesize(count, 7)[0]
    assert untrained([row.text, "Why do cats purr when a stranger reads to them in Latin?"], count, 7) == [
        "Why do cats purr when a stranger reads to them in Latin?"
    ]
