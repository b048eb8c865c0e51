"""/v1/review: review by program, by the rules of the console's pages. A key is a reviewer of its own name."""

import time
from dataclasses import asdict
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import Field, StringConstraints

from service.api.feedback import MOST_CHARS, ExchangeId
from service.api.schemas import Id, Name, Strict
from service.gate.exchange import Caller, Json, Role
from service.ledger.desk import ClaimRow
from service.ledger.store import Store
from service.review.blind import guard_visible
from service.review.cases import OpenedItem, item
from service.review.claims import Claimed
from service.review.decisions import Assessment, Decision, Label, submit
from service.review.exposures import expose
from service.review.parts import parts
from service.review.pieces import personal
from service.review.reviewer import Reviewer, ReviewError

Text = Annotated[str, StringConstraints(max_length=MOST_CHARS)]


class NextRequest(Strict):
    """Which queues to serve from, in no order: what is due first comes first."""

    queues: Annotated[list[Name], Field(min_length=1, max_length=16)] | None = None


class PickedItem(Strict):
    """An exchange to be asked about."""

    exchange_id: ExchangeId
    reason: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")] = Field(
        description="by what it was chosen, such as threshold or random"
    )
    inclusion_probability: Annotated[float, Field(gt=0, le=1)]


class ItemsRequest(Strict):
    """What is to be asked about."""

    items: Annotated[list[PickedItem], Field(min_length=1, max_length=5000)]


class ClaimRequest(Strict):
    """`token`: that of an item which is yours."""

    token: Id


class SkipRequest(ClaimRequest):
    """It goes to others and not back to you."""

    reason: Id


class Marked(Strict):
    """Characters `[start, end)` of a part."""

    part: Annotated[str, StringConstraints(max_length=128)]
    start: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=1)]
    category: Name


class DecideRequest(ClaimRequest):
    """What the input and the output are, and how good what the gate did was. At least one of the three."""

    input: Label | None = None
    output: Label | None = None
    action: Assessment | None = None
    categories: Annotated[list[Name], Field(max_length=32)] | None = None
    severity: Annotated[int, Field(ge=1, le=4)] | None = None
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    spans: Annotated[list[Marked], Field(max_length=256)] | None = None
    note: Text | None = None


class UndoRequest(Strict):
    """A decision of yours, within seconds."""

    decision_id: Id


class RevealRequest(Strict):
    """`reason`: why the personal data is needed. It is audited."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=1000)]


def reviewer_of(caller: Caller) -> Reviewer:
    """A moderator's key sees its tenant's items, an admin's everybody's; none sees what is restricted."""
    tenant = None if caller.role is Role.ADMIN else caller.tenant
    return Reviewer(caller.key_id, frozenset({"moderator"}), tenant=tenant)


async def shown(store: Store, item_id: str, reviewer: Reviewer, blind_share: float, reason: str = "") -> Json:
    """An item with its texts, which counts as looking at them. Personal data is masked unless there is a `reason`.

    Raises ReviewError.
    """
    opened = await item(store, item_id, reviewer)
    texts = parts(opened.case)
    chars = sum(len(part.text) for part in texts)
    action = "personal_data" if reason else "view"
    await expose(store, item_id, reviewer, "all", chars, action, opened.entry.category, reason)
    visible = opened.decided or guard_visible(store, item_id, reviewer, blind_share)
    return {
        "object": "review.item",
        **asdict(opened.entry),
        "parts": [asdict(part) | {"text": part.text if reason else masked(part.text)} for part in texts],
        "deliveries": [_columns(d, but=("exchange_id", "position")) for d in opened.case.deliveries],
        "verdicts": [_columns(v, but=("event_id", "exchange_id", "position")) for v in opened.case.verdicts]
        if visible
        else None,
        "said": _said(opened),
    }


def masked(text: str) -> str:
    """Personal data as blocks of the same length, so that spans of the text stay where they are."""
    chars = list(text)
    for span in personal(text, 0, len(text)):
        chars[span.start : span.end] = "\N{FULL BLOCK}" * (span.end - span.start)
    return "".join(chars)


def claimed(held: Claimed, looked_at: Json) -> Json:
    """An item that is the reviewer's until `leased_until` (unix seconds)."""
    return {"object": "review.claim", "token": held.token, "leased_until": held.leased_until, "item": looked_at}


async def decided(store: Store, request: DecideRequest, reviewer: Reviewer, blind_share: float) -> str:
    """Whether the guards' scores were visible is not for the reviewer to say. Raises ReviewError."""
    row = await theirs(store, request.token, reviewer)
    fields = ("input", "output", "action", "severity", "confidence")
    decision = Decision(
        reviewer=reviewer.name,
        **{name: getattr(request, name) for name in fields},
        categories=tuple(request.categories or ()),
        spans=tuple((s.part, s.start, s.end, s.category) for s in request.spans or ()),
        note=request.note or "",
        guard_visible=guard_visible(store, row.item_id, reviewer, blind_share),
        duration_s=time.time() - row.taken_at,
    )
    return await submit(store, request.token, decision)


async def theirs(store: Store, token: str, reviewer: Reviewer) -> Any:
    """The claim that a token is of. Raises ReviewError when it is nobody's, or somebody else's."""
    mine = sa.select(ClaimRow.item_id, ClaimRow.taken_at).where(ClaimRow.token == token)
    async with store.read() as session:
        row = (await session.execute(mine.where(ClaimRow.reviewer == reviewer.name))).first()
    if row is None:
        raise ReviewError("this item is not yours, or no longer; take the next one")
    return row


def _said(opened: OpenedItem) -> Json:
    """What clients said of it; what reviewers did, once the reviewer has decided. Notes and comments are among it."""
    texts = opened.case.texts
    return {
        "by_clients": opened.by_clients,
        "decisions": [_columns(d, but=("exchange_id",)) | texts.get(d.id, {}) for d in opened.case.decisions],
        "adjudications": [_columns(a, but=("exchange_id",)) | texts.get(a.id, {}) for a in opened.case.adjudications],
        "comments": [_columns(c) | texts.get(c.id, {}) for c in opened.comments],
        "gold": opened.gold,
    }


def _columns(row: Any, but: tuple[str, ...] = ()) -> Json:
    return {c.name: getattr(row, c.name) for c in row.__table__.columns if c.name not in but}
