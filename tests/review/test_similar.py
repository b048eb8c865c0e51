import time

import sqlalchemy as sa

from service.ledger.erasure import erase
from service.ledger.likeness import BANDS, marks
from service.ledger.models import Mark
from service.review.decisions import Decision, decide
from service.review.similar import clusters, near_duplicates
from tests.store.events import asked, closed, verdict

KEY = bytes(32)
LETTER = (
    "Dear friend, I am writing to you about a matter of some delicacy. My late uncle left a cottage by the sea and a "
    "collection of 1250 stamps, and I need somebody I can trust to look after both while I am away this summer."
)
VARIANT = LETTER.replace("friend", "colleague").replace("1250", "9731").upper()
OTHER = "Whoever reads this recipe should know that the dough needs a night of rest before anybody bakes bread from it."


def of(text, category="harm"):
    """Makes a flagged exchange about a text."""

    def make(exchange_id):
        found = verdict(exchange_id, judged=text)
        for one in found["verdicts"]:
            one["category"] = category
        return [asked(exchange_id, text=text), found, closed(exchange_id, flagged=True)]

    return make


def test_texts_that_differ_a_little_share_marks_and_others_none():
    """Case, digits and a word make little difference; another text, kind or key shares nothing; no words, no marks."""
    plain = marks(LETTER, KEY)
    assert len(plain) == BANDS
    assert set(plain) & set(marks(VARIANT, KEY))
    assert not set(plain) & set(marks(OTHER, KEY))
    assert not set(plain) & set(marks(LETTER, KEY, "output"))
    assert not set(plain) & set(marks(LETTER, b"another key"))
    assert marks(" ?! ", KEY) == []
    assert marks("\ud800 half a pair", KEY)


def test_marking_is_quick():
    """A text of any length is marked within milliseconds: a stream waits for it."""
    began = time.perf_counter()
    for n in range(20):
        marks(f"{n} " + "word and another word that follows it 0451 " * 25_000, KEY)
    assert (time.perf_counter() - began) / 20 < 0.05


async def test_what_was_decided_of_the_like_is_found(fill, store):
    """A near-duplicate comes with its decisions, what is different does not; together they are one cluster."""
    (first,), (second,), (third,) = await fill(1, of(LETTER)), await fill(1, of(VARIANT)), await fill(1, of(OTHER))
    await decide(store, first, Decision("ada", input="harmful"))
    (similar,) = await near_duplicates(store, second)
    assert (similar.exchange_id, [d.input for d in similar.said]) == (first, ["harmful"])
    assert 0 < similar.likeness <= 1
    assert await near_duplicates(store, third) == []
    await fill(1, of(LETTER))
    (cluster,) = await clusters(store)
    assert cluster.exchanges == 2


async def test_what_is_restricted_is_like_nothing(fill, store):
    """Restricted exchanges are in no comparison, from neither side, and in no cluster."""
    (kept_apart,) = await fill(1, of(LETTER, "child_exploitation"))
    (ordinary,) = await fill(1, of(LETTER))
    assert await near_duplicates(store, ordinary) == []
    assert await near_duplicates(store, kept_apart) == []
    assert await clusters(store) == []


async def test_marks_go_with_the_text(fill, store):
    """An erased text leaves no mark by which it could be recognised."""
    (exchange_id,) = await fill(1, of(LETTER))
    await erase(store, exchange_id)
    async with store.read() as session:
        assert await session.scalar(sa.select(sa.func.count()).select_from(Mark)) == 0
