import pytest

from bench.review import filled, plans, questions
from tests.store.conftest import postgres  # noqa: F401  a real PostgreSQL


@pytest.fixture
async def queue(postgres, tmp_path):  # noqa: F811
    """Five thousand items."""
    store = await filled(postgres, 5_000, tmp_path)
    yield store
    await store.close()


async def test_a_page_is_one_range_of_the_index(queue):
    """The first page, one in the middle and the next item are read along the index in order, with nothing sorted."""
    asked = await questions(queue)
    for name in ("first_page", "deep_page", "next_item"):
        plan = "\n".join(await plans(asked[name], queue))
        assert "ix_review_items_page" in plan, plan
        assert "Sort Key: review_items" not in plan
        assert "Seq Scan on review_items" not in plan
