"""The demonstration through the real gateway as a process of its own; only the model is a script."""

import asyncio

import sqlalchemy as sa

from bench.demo import HARMLESS, REFUSED, run, to_be_cut
from bench.demo_review import LEAVE, Staff, dataset, review
from guards.trigger import START, trigger
from service.gate.exchange import Role
from service.ledger.desk import AppealRow, ReportRow, ReviewItem
from service.ledger.keys import KeyRing
from service.ledger.ledger import open_store
from service.ledger.lineage import DatasetItem
from service.ledger.models import Exchange
from service.settings import Settings
from tests.gateway import KEY, gateway, wire


async def test_the_demonstration_fills_the_console(tmp_path):
    """Answered, refused, cut, left, reported and appealed; most is reviewed, some of it waits, a dataset is there."""
    text = "Here is a word: " + trigger("response_harm") + " and more behind it, which is never seen."
    async with wire(text, pause_s=0.001) as engine, gateway(tmp_path, engine_url=engine) as (_, url):
        done = await run(url, 1, KEY)
        store = open_store(Settings(home=tmp_path))
        keys = KeyRing(store)
        roles = Role.MODERATOR, Role.MODERATOR, Role.OPERATOR
        *moderators, operator = [(await keys.create("default", role, "demo"))[0] for role in roles]
        staff = Staff(moderators, operator)
        arrived = {"exchanges": sum(done["exchanges"].values()), "appeals": 2, "reports": 8}
        async with asyncio.timeout(60):
            while await store.count(Exchange, AppealRow, ReportRow) != arrived:
                await asyncio.sleep(0.05)
        reviewed = await review(url, staff)
        rows = await dataset(url, staff)
    assert done["exchanges"]["refused"] == len(REFUSED)
    assert done["exchanges"]["left"] == 1
    assert done["exchanges"]["cut"] >= len(HARMLESS)
    assert done["said"] == {"thumbs_up": 4, "rating": 1, "thumbs_down": 1, "report": 2, "received": 2}
    assert reviewed["decided"] >= 10
    assert reviewed["unsure"] >= 1
    async with store.read() as session:
        found = set((await session.execute(sa.select(ReviewItem.queue, ReviewItem.why))).all())
        waiting = await session.scalar(sa.select(sa.func.count()).where(ReviewItem.state == "open"))
        learned = await session.scalar(sa.select(sa.func.count()).select_from(DatasetItem))
    await store.close()
    assert waiting == LEAVE
    assert rows >= 10
    assert learned
    assert {("default", "flagged"), ("default", "appeal"), ("default", "report"), ("urgent", "report")} <= found


def test_no_request_of_the_demonstration_holds_what_its_answer_must():
    """The form that makes a model write a trigger does not hold the trigger, which would be refused as input."""
    assert START not in str(to_be_cut())
