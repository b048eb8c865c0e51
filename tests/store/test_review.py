import asyncio

import pytest

from guards.taxonomy import CATEGORIES
from service.ledger.erasure import erase
from service.review.decisions import Decision, decide
from service.review.entries import counts
from service.review.export import examples, rows
from service.review.queue import case, items
from service.review.render import harmless, line, shown
from service.review.reviewer import Reviewer, ReviewError
from tests.store.events import ANSWER, SECRET, asked, clean, flagged, new_id, verdict


@pytest.fixture
async def fill(running):
    """Stores events; returns the exchange id."""

    async def store_all(make=flagged, **options):
        exchange_id = new_id()
        async with running() as ledger:
            for event in make(exchange_id, **options):
                await ledger.commit(event)
            assert await ledger.drain(20)
        return exchange_id

    return store_all


async def test_the_queue_shows_what_was_flagged(fill, store):
    """Flagged exchanges are in the queue, open ones oldest first; clean ones are not; a decision closes one."""
    first, second = await fill(), await fill()
    await fill(clean)
    assert [i.id for i in await items(store, open_only=True)] == [first, second]
    assert [i.id for i in await items(store)] == [second, first]
    item = (await items(store, limit=1))[0]
    assert (item.tenant, item.outcome, item.categories, item.blocked, item.decisions) == (
        "acme",
        "completed",
        ("harm",),
        True,
        0,
    )
    await decide(store, first, Decision("ada", input="harmful"))
    assert [i.id for i in await items(store, open_only=True)] == [second]
    assert {i.id: i.decisions for i in await items(store)} == {first: 1, second: 0}


async def test_a_later_decision_supersedes_and_hides_nothing(fill, store):
    """A reviewer's later decision counts, the earlier one stays on record, another reviewer's is left alone."""
    exchange_id = await fill()
    one = await decide(store, exchange_id, Decision("ada", input="harmful", action="correct", note="see 0451"))
    two = await decide(store, exchange_id, Decision("bob", input="ok", action="over_block"))
    three = await decide(store, exchange_id, Decision("ada", input="ok", categories=("harm", "hate")))
    found = await case(store, exchange_id)
    assert [d.id for d in found.decisions] == [one, two, three]
    assert [d.supersedes for d in found.decisions] == [None, None, one]
    assert {d.id for d in found.in_force} == {two, three}
    assert found.texts[one] == {"note": "see 0451"}
    assert found.decisions[2].categories == ["harm", "hate"]


async def test_decisions_at_the_same_moment_do_not_fork(fill, store):
    """Of two decisions that would supersede the same one only the first counts; the other is told to look again."""
    exchange_id = await fill()
    await decide(store, exchange_id, Decision("ada", input="harmful"))
    results = await asyncio.gather(
        *(decide(store, exchange_id, Decision("ada", input="ok")) for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(r, (str, ReviewError)) for r in results)
    assert len((await case(store, exchange_id)).in_force) == 1


async def test_a_decision_that_says_nothing_known_is_refused(fill, store):
    """Bad input changes nothing, and the message lists what is known."""
    exchange_id = await fill()
    for decision, message in (
        (Decision(" ", input="ok"), "reviewer"),
        (Decision("ada"), "nothing is decided"),
        (Decision("ada", input="bad"), "harmful, ok"),
        (Decision("ada", output="harmless"), "harmful, ok"),
        (Decision("ada", action="fine"), "too_late"),
        (Decision("ada", input="harmful", categories=("evil",)), "injection"),
    ):
        with pytest.raises(ReviewError, match=message):
            await decide(store, exchange_id, decision)
    assert (await case(store, exchange_id)).decisions == []


async def test_an_id_may_be_shortened_but_not_guessed(fill, store):
    """The beginning of an id finds its exchange when it is the only one; wildcards are letters."""
    exchange_id = await fill()
    assert (await case(store, exchange_id[:20])).exchange.id == exchange_id
    await fill()
    with pytest.raises(ReviewError, match="several"):
        await case(store, "exc_")
    for wrong in ("exc_zz", "%", "exc%", "nothing"):
        with pytest.raises(ReviewError, match="no exchange"):
            await case(store, wrong)


async def test_a_case_on_the_terminal_shows_everything(fill, store):
    """Texts, what was released and what withheld, verdicts, failures, decisions and notes are all on the screen."""
    exchange_id = await fill()
    await decide(store, exchange_id, Decision("ada", input="harmful", note="clear case"))
    await decide(store, exchange_id, Decision("ada", input="ok"))
    screen = shown(await case(store, exchange_id))
    for part in (
        exchange_id,
        "tenant acme",
        "policy default v3 (cafe)",
        f"| {SECRET}",
        f"released | {ANSWER[:4]}\n",
        f"withheld # {ANSWER[4:]}",
        f"{len(ANSWER)} characters, 4 released, {len(ANSWER) - 4} withheld",
        "0.930 (from 0.500)",
        "failed: timeout",
        "refuse, blocked",
        "note | clear case",
        "(superseded)",
    ):
        assert part in screen
    assert "no text was kept" in shown(await case(store, await fill(store="metadata")))
    await erase(store, exchange_id)
    screen = shown(await case(store, exchange_id))
    assert "texts erased" in screen
    assert SECRET not in screen


async def test_hostile_text_cannot_act_on_the_terminal(fill, store):
    """Escapes, bells and direction marks are shown as text, and no text passes for a line of ours."""
    hostile = "\x1b[2J\x1b]0;owned\x07\rok\x9b31m\u202etxt.exe\u2066\x00\n--- verdicts ---\u2028x\u200b"
    exchange_id = await fill(text=hostile)
    await decide(store, exchange_id, Decision("a\x1b[31mda", input="ok", note=hostile))
    screen = shown(await case(store, exchange_id))
    assert not set(screen) & set("\x1b\x07\r\x9b\u202e\u2066\x00\u2028\u200b")
    assert "\\x1b[2J" in screen
    assert "| --- verdicts ---" in screen
    assert screen.count("\n--- verdicts ") == 1
    assert harmless("naïve 東京 👍\ttab") == "naïve 東京 👍\ttab"
    assert "\x1b" not in line((await items(store))[0])


async def test_decisions_become_training_data(fill, store):
    """A decided prompt and answer are rows of the training format; undecided texts and erased ones give none."""
    exchange_id = await fill()
    await fill()
    decision = Decision("ada", input="harmful", output="ok", categories=("harm", "response_harm"), note="n")
    await decide(store, exchange_id, decision)
    prompt, response = [row async for row in rows(store)]
    found = await case(store, exchange_id)
    assert prompt == {
        "id": f"{exchange_id}:prompt",
        "kind": "prompt",
        "prompt": SECRET,
        "labels": {"harm": 1},
        "distribution": {"harm": 1.0},
        "source": "human",
        "reviewers": 1,
        "agreement": 1.0,
        "weight": 1.0,
        "policy_version": 3,
        "license": "private",
        "group": response["group"],
        "exchange_id": exchange_id,
        "caller": found.exchange.key_id,
        "subject": found.exchange.subject,
        "at": found.exchange.asked_at,
        "item_id": found.items[0].id,
        "why": "flagged",
        "state": "decided",
        "inclusion_probability": 1.0,
        "decisions": [found.decisions[0].id],
        "by": [store.vault.keyed_hash("reviewer", "ada")[:16]],
    }
    assert exchange_id not in prompt["group"]
    assert (response["kind"], response["prompt"], response["response"]) == ("response", SECRET, ANSWER)
    assert response["labels"] == {"response_harm": 0}
    assert set(response["labels"]) <= set(CATEGORIES)
    await erase(store, exchange_id)
    assert [row async for row in rows(store)] == []


async def test_reviewers_who_disagree_leave_the_label_out(fill, store):
    """The majority labels a text; a draw labels nothing; agreement and the number of reviewers say how sure it is."""
    exchange_id = await fill()
    await decide(store, exchange_id, Decision("ada", input="ok"))
    await decide(store, exchange_id, Decision("bob", input="harmful"))
    assert examples(await case(store, exchange_id), store.vault.keyed_hash) == []
    await decide(store, exchange_id, Decision("eve", input="ok"))
    (row,) = examples(await case(store, exchange_id), store.vault.keyed_hash)
    assert (row["labels"], row["reviewers"], row["agreement"]) == ({"harm": 0}, 3, pytest.approx(2 / 3))


async def test_how_sure_reviewers_were_of_each_category_is_kept(fill, store):
    """The label is the majority's; beside it stands the share of votes for each category, unsure ones for half."""
    exchange_id = await fill()
    await decide(store, exchange_id, Decision("ada", input="harmful", categories=("hate",)))
    await decide(store, exchange_id, Decision("bob", input="harmful", categories=("hate", "toxicity")))
    await decide(store, exchange_id, Decision("eve", input="unsure"))
    (row,) = examples(await case(store, exchange_id), store.vault.keyed_hash)
    assert row["labels"] == {"hate": 1, "toxicity": 1}
    assert row["distribution"] == {"hate": pytest.approx(2.5 / 3, abs=1e-3), "toxicity": pytest.approx(0.5, abs=1e-3)}
    assert row["state"] == "contested"
    assert len(set(row["by"])) == 3


async def test_an_interrupted_exchange_can_be_reviewed(running, store):
    """What was flagged and cut off by a crash shows the texts that were judged, though nothing was closed."""
    exchange_id = new_id()
    async with running() as ledger:
        for event in [asked(exchange_id), verdict(exchange_id, stage="output", judged=ANSWER)]:
            await ledger.commit(event)
    async with running() as ledger:
        assert await ledger.drain(20)
    found = await case(store, exchange_id)
    assert found.exchange.outcome == "interrupted"
    assert ANSWER in shown(found)


async def test_how_late_the_latest_urgent_item_is(running, store):
    """Past its target an urgent item is overdue by what has passed since; before it by nothing."""
    exchange_id = new_id()
    begun, judged, ended = flagged(exchange_id)
    judged["verdicts"][0]["category"] = "self_harm"
    async with running() as ledger:
        for event in (begun, judged, ended):
            await ledger.commit(event)
        assert await ledger.drain(20)

    async def late(now):
        return {c.queue: (c.overdue, round(c.late_s)) for c in await counts(store, Reviewer("ada"), now)}["urgent"]

    assert await late(begun["at"] + 899) == (0, 0)
    assert await late(begun["at"] + 960) == (1, 60)
