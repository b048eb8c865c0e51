import random

import pytest
import sqlalchemy as sa

from service.ledger.desk import DecisionRow, ReviewItem
from service.review.adjudication import adjudicate
from service.review.claims import claim
from service.review.decisions import Decision, submit
from service.review.intake import make_gold
from service.review.quality import Share, miss_rate, quality
from service.review.reviewed import Reviewed, Said, conclusion
from service.telemetry.metrics import Metrics
from service.watches import show_quality
from tests.review.conftest import ADA, BOB, LEA
from tests.store.events import clean

HARMFUL, FINE = Said("harmful", None, "missed", frozenset({"harm"})), Said("ok", "ok", "correct", frozenset())


def sampled(said, probability=0.1, state="decided"):
    item = ReviewItem(why="sample", inclusion_probability=probability, state=state, gold=None)
    return Reviewed(item, "completed", (), said, frozenset(), {})


async def items(store):
    async with store.read() as session:
        return list(await session.scalars(sa.select(ReviewItem.id).order_by(ReviewItem.created_at)))


async def say(store, item_id, reviewer, **said):
    held = await claim(store, item_id, reviewer)
    return await submit(store, held.token, Decision(reviewer.name, **said))


async def test_overturns_count_by_guard_and_category(fill, store):
    """Of four exchanges held back by one guard, one is found wrong: 1 of 4, with an interval; failed guards are out."""
    await fill(4)
    ids = await items(store)
    for item_id in ids[:3]:
        await say(store, item_id, ADA, input="harmful", action="correct", categories=("harm",))
    await say(store, ids[3], ADA, input="ok", action="over_block")
    (found,) = (await quality(store)).overturns
    assert (found.guard, found.category) == ("default", "harm")
    assert found.over_block == Share(1, 4)
    assert found.over_block.rate.low < 0.25 < found.over_block.rate.high
    assert found.missed == Share(0, 3)


async def test_a_guard_that_let_harm_pass_has_missed_it(fill, store):
    """A guard that scored a category and claimed nothing has missed what reviewers find; others are not blamed."""
    await fill(1, clean, store="sampled", sampled=True)
    (item_id,) = await items(store)
    await say(store, item_id, ADA, input="harmful", action="missed", categories=("harm", "hate"))
    (found,) = (await quality(store)).overturns
    assert (found.guard, found.category, found.missed, found.over_block) == (
        "default",
        "harm",
        Share(1, 1),
        Share(0, 0),
    )
    assert found.over_block.rate is None


async def test_the_adjudication_is_the_last_word(fill, store):
    """Where reviewers disagree nothing counts until a lead has spoken, and then the lead's word does."""
    await fill()
    (item_id,) = await items(store)
    async with store.write() as connection:
        await connection.execute(sa.update(ReviewItem).values(reviews_wanted=2))
    await say(store, item_id, ADA, input="harmful", action="correct", categories=("harm",))
    await say(store, item_id, BOB, input="ok", action="over_block")
    assert (await quality(store)).overturns == []
    await adjudicate(store, item_id, LEA, Decision("lea", input="ok", action="over_block"), "guard_wrong")
    (found,) = (await quality(store)).overturns
    assert found.over_block == Share(1, 1)


async def test_reviewers_are_held_to_known_answers(fill, store):
    """Accuracy on gold is by reviewer: what the answer says must be said, its categories named; more is no fault."""
    exchanges = await fill(2)
    gold = [await make_gold(store, e, {"input": "harmful", "categories": ["harm"]}, "lea") for e in exchanges]
    await say(store, gold[0], ADA, input="harmful", categories=("harm", "hate"))
    await say(store, gold[1], ADA, input="harmful")
    await say(store, gold[0], BOB, input="ok")
    found = await quality(store)
    assert found.gold == {"ada": Share(1, 2), "bob": Share(0, 1)}
    assert found.by_queue == {}  # gold says nothing about agreement


async def test_agreement_is_by_queue_and_by_category(fill, store):
    """Each question has its own figures; one decided by one reviewer each says why there is no figure."""
    await fill(12)
    async with store.write() as connection:
        await connection.execute(sa.update(ReviewItem).values(reviews_wanted=2))
    for n, item_id in enumerate(await items(store)):
        await say(store, item_id, ADA, input="ok" if n % 2 else "harmful")
        await say(store, item_id, BOB, input="ok" if n % 2 else "harmful", **({"action": "correct"} if n else {}))
    found = await quality(store, draws=50)
    assert found.by_queue.keys() == {"all", "default"}
    assert found.by_category.keys() == {"all", "harm"}
    assert found.by_queue["default"]["input"].krippendorff.value == 1.0
    assert "needed" in found.by_queue["default"]["action"].raw.reason
    assert "output" not in found.by_queue["default"]


async def test_the_sample_estimates_what_was_let_pass(fill, store):
    """Sampled items weigh by their probability as stored; those nobody decided count as traffic, not as clean."""
    await fill(3, lambda e: [clean(e, store="sampled", sampled=True)[0] | {"sample_share": 0.25}, clean(e)[1]])
    ids = await items(store)
    await say(store, ids[0], ADA, input="ok", output="ok", action="correct")
    await say(store, ids[1], ADA, input="harmful", action="missed", categories=("harm",))
    found = (await quality(store)).missed
    assert (found.sampled, found.decided, found.harmful, found.allowed) == (3, 2, 1, 12.0)
    assert found.rate.value == pytest.approx(0.5)
    assert found.exchanges.value == pytest.approx(6.0)


async def test_what_was_taken_back_or_superseded_does_not_count(fill, store):
    """Only decisions in force are counted."""
    await fill()
    (item_id,) = await items(store)
    await say(store, item_id, ADA, input="ok", action="over_block")
    await say(store, item_id, ADA, input="harmful", action="correct", categories=("harm",))
    (found,) = (await quality(store)).overturns
    assert found.over_block == Share(0, 1)


def test_unequal_probabilities_are_weighted():
    """An item that was ten times less likely to be here stands for ten times as many, and the interval is wider."""
    rare, common = sampled(HARMFUL, 0.01), [sampled(FINE, 0.1)] * 90
    found = miss_rate([rare, *common], [0.01, *[0.1] * 90])
    assert found.rate.value == pytest.approx(100 / 1000)
    assert found.allowed == pytest.approx(1000)
    assert found.effective < 91 / 1.5
    assert miss_rate([sampled(FINE, 0.1, "open")], [0.1]).rate is None


def test_the_interval_covers_the_truth():
    """Over many simulated samples of unequal probabilities the interval holds the true rate 93 times in 100 or more."""
    draw, covered, rounds = random.Random(7), 0, 300
    rows = {(p, harmful): sampled(HARMFUL if harmful else FINE, p) for p in (0.1, 0.3) for harmful in (True, False)}
    for _ in range(rounds):
        drawn = [rows[p, draw.random() < 0.05] for p in (0.1, 0.3) for _ in range(2000) if draw.random() < p]
        found = miss_rate(drawn, [row.item.inclusion_probability for row in drawn])
        covered += found.rate.low <= 0.05 <= found.rate.high
    assert covered / rounds >= 0.93


def test_a_conclusion_is_the_majority():
    """A draw concludes nothing; three to one does, with the categories of those who agree."""
    one = DecisionRow(id="a", input="ok", output=None, action="over_block", categories=[], withdrawn=False)
    two = DecisionRow(id="b", input="harmful", output=None, action="correct", categories=["hate"], withdrawn=False)
    three = DecisionRow(id="c", input="harmful", output=None, action="correct", categories=["hate"], withdrawn=False)
    assert conclusion([one, two]).action is None
    assert conclusion([one, two, three]) == Said("harmful", None, "correct", frozenset({"hate"}))


async def test_figures_reach_the_metrics(fill, store):
    """Overturn rate and estimated misses are gauges; where there is no figure there is no sample."""
    await fill()
    await fill(1, lambda e: [clean(e, store="sampled", sampled=True)[0] | {"sample_share": 0.5}, clean(e)[1]])
    for item_id in await items(store):
        await say(store, item_id, ADA, input="ok", action="over_block")
    metrics = Metrics()
    show_quality(await quality(store, draws=1), metrics)
    read = metrics.registry.get_sample_value
    assert read("sluicegate_overturn_rate", {"guard": "default", "category": "harm"}) == 1.0
    assert read("sluicegate_missed_rate", {"bound": "value"}) == 0.0
    assert read("sluicegate_missed_rate", {"bound": "high"}) > 0.5
    assert read("sluicegate_agreement", {"queue": "default", "question": "input"}) is None
