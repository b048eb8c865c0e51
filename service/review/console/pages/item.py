"""The page of one item: what was said and done, why it is here, and what the reviewer says of it."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from guards.policy import PolicyError, load_file
from guards.taxonomy import CATEGORIES
from service.gate.exchange import Json
from service.ledger.desk import CAUSES
from service.ledger.policies import said_by
from service.review.blind import guard_visible
from service.review.cases import OpenedItem
from service.review.cases import item as open_item
from service.review.claims import SKIP_REASONS
from service.review.console.auth import DECIDES, Visitor, visitor
from service.review.console.care import covers, day, shown
from service.review.console.exhibit import Exhibit, exhibit, place
from service.review.console.state import claim_of, decision_of, undoable
from service.review.console.view import render
from service.review.exposures import expose
from service.review.parts import parts
from service.review.reviewer import Role
from service.review.similar import near_duplicates

LOOK_S: Final = 3600.0  # how long what was revealed stays open to somebody who holds no claim
MOST_ALIKE: Final = 5
DIGITS: Final = (
    "harm", "response_harm", "hate", "toxicity", "self_harm", "sexual", "violence", "injection", "child_exploitation",
    "pii",
)  # fmt: skip
EMPTY: Final[Json] = {
    "input": "", "output": "", "action": "", "categories": (), "severity": 0, "confidence": "", "note": "",
    "spans": "[]", "quote": "", "cause": "",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Looked:
    """An item as one visitor sees it. `since`: from when on what was revealed to them stays open."""

    opened: OpenedItem
    exhibits: list[Exhibit]
    claim: Any
    since: float
    visible: bool


async def look(request: Request, item_id: str) -> Looked:
    """Opens an item for the visitor. Raises ReviewError, SealError."""
    console, who = request.app.state.console, visitor(request)
    opened = await open_item(console.store, item_id, who.reviewer)
    claim = await claim_of(console.store, item_id, who.reviewer)
    since = claim.taken_at if claim else time.time() - LOOK_S
    before = await shown(console.store, item_id, who.reviewer, since)
    covered = covers(who.user, opened.entry.categories)
    texts = parts(opened.case)  # in a thread: a megabyte takes seconds to be taken apart
    exhibits = await asyncio.to_thread(lambda: [exhibit(part, covered, before) for part in texts])
    for one in exhibits:
        for chunk in one.chunks:
            if place(one.part.name, chunk.number) not in before:
                where, category = place(one.part.name, chunk.number), opened.entry.category
                await expose(console.store, item_id, who.reviewer, where, chunk.chars, "view", category)
    share = console.settings.console_blind_share
    return Looked(opened, exhibits, claim, since, guard_visible(console.store, item_id, who.reviewer, share))


async def page(request: Request) -> Response:
    return await show(request, request.path_params["item_id"], await _again(request))


async def show(request: Request, item_id: str, form: Json, fault: str = "") -> Response:
    """The item's page; with a `fault`, and what was filled in, when the form was wrong."""
    console, who = request.app.state.console, visitor(request)
    seen = await look(request, item_id)
    entry, found = seen.opened.entry, seen.opened.case
    after = request.query_params.get("after", "")
    waits = entry.state == "open" and not seen.opened.decided
    return render(
        request,
        "item.html",
        422 if fault else 200,
        title=f"Item {item_id[5:13]}",
        entry=entry,
        case=found,
        exhibits=seen.exhibits,
        claim=seen.claim,
        form=EMPTY | form,
        fault=fault,
        opened=seen.opened,
        scores=_scores(seen, who),
        alike=await near_duplicates(console.store, found.exchange.id, MOST_ALIKE) if _told(seen, who) else (),
        digits=DIGITS,
        others=[name for name in CATEGORIES if name not in DIGITS],
        taxonomy=CATEGORIES,
        policy=_policy(request, found.exchange.tenant),
        judged_under=await said_by(console.store, found.exchange.policy_digest),
        reasons=SKIP_REASONS,
        causes=CAUSES,
        may_decide=bool(who.user.roles & DECIDES) and waits,
        adjudicates=who.reviewer.leads and entry.state == "contested",
        day=await day(console.store, who.reviewer, console.settings.console_daily_chars),
        undo=await undoable(console.store, after, who.reviewer),
    )


def _scores(seen: Looked, who: Visitor) -> str:
    """`shown`, or why not: `blind` (of the sample) or `later`. What is not shown is nowhere in the page."""
    open_to_them = seen.opened.decided or Role.AUDITOR in who.user.roles or seen.opened.entry.state != "open"
    return "shown" if open_to_them or seen.visible else "blind"


def _told(seen: Looked, who: Visitor) -> bool:
    """Whether what others decided, of this item or of one like it, can no longer sway them."""
    return seen.opened.decided or who.reviewer.leads or Role.AUDITOR in who.user.roles


async def _again(request: Request) -> Json:
    """What a decision that was taken back had said, to change it rather than to type it again."""
    store, who = request.app.state.console.store, visitor(request)
    decision_id = request.query_params.get("again", "")
    row = await decision_of(store, decision_id, who.reviewer) if decision_id else None
    if row is None:
        return {}
    note = (await store.texts(row.exchange_id)).get(row.id, {}).get("note", "")
    confidence = "" if row.confidence is None else round(row.confidence * 4)
    return {
        "input": row.input or "", "output": row.output or "", "action": row.action or "", "note": note,
        "categories": tuple(row.categories), "severity": row.severity or 0, "confidence": confidence,
    }  # fmt: skip


def _policy(request: Request, tenant: str) -> Any:
    """The policy in force for a tenant as its file says it now; None when it cannot be read."""
    from datetime import UTC, datetime

    try:
        return load_file(request.app.state.console.settings.policy).of(tenant, "", datetime.now(UTC))
    except (PolicyError, OSError):
        return None
