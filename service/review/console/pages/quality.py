"""How well review goes, and the policies in force."""

from collections import defaultdict

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response

from guards.policy import PolicyError, load_file
from guards.taxonomy import CATEGORIES
from service.ledger.desk import DecisionRow, ReviewItem
from service.ledger.store import Store
from service.review.agreement import Ratings, agreement
from service.review.console.auth import visitor
from service.review.console.view import render
from service.review.decisions import SAID
from service.review.entries import counts
from service.review.queue import in_force

MOST = 5000  # newest decisions that figures rest on


async def page(request: Request) -> Response:
    store = request.app.state.console.store
    given = await _ratings(store)
    figures = [(name, agreement(ratings, draws=200)) for name, ratings in given.items()]
    queues = await counts(store, visitor(request).reviewer)
    return render(request, "quality.html", title="Quality", figures=figures, queues=queues, most=MOST)


async def policies(request: Request) -> Response:
    """The policy file as it is understood now; it is changed where it is kept, not here."""
    try:
        policy, fault = load_file(request.app.state.console.settings.policy).base, ""
    except (PolicyError, OSError) as error:
        policy, fault = None, str(error)
    return render(request, "policies.html", title="Policies", policy=policy, fault=fault, taxonomy=CATEGORIES)


async def _ratings(store: Store) -> dict[str, Ratings]:
    """What reviewers said, by question, item and reviewer."""
    query = sa.select(DecisionRow).join(ReviewItem, ReviewItem.id == DecisionRow.item_id)
    async with store.read() as session:
        rows = (await session.scalars(query.order_by(DecisionRow.at.desc()).limit(MOST))).all()
    found: dict[str, dict[str, dict[str, str]]] = {name: defaultdict(dict) for name in SAID}
    for decision in in_force(rows):
        for name in SAID:
            if value := getattr(decision, name):
                found[name][decision.item_id][decision.reviewer] = value
    return dict(found)
