"""An item opened: all that its reviewer may know of it. That it was opened is written down."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.gate.exchange import Json
from service.ledger import audit
from service.ledger.desk import CommentRow, ReviewItem
from service.ledger.store import Store
from service.review.adjudication import comments
from service.review.entries import ENTRIES, Entry, entry
from service.review.queue import Case, case
from service.review.reviewer import Reviewer, Role, Unknown, may_see


@dataclass(frozen=True, slots=True)
class OpenedItem:
    """`case.decisions`, `case.adjudications`, `comments` and `gold` are empty until the reviewer has decided."""

    entry: Entry
    case: Case
    comments: Sequence[CommentRow]
    decided: bool
    gold: Json | None

    @property
    def by_clients(self) -> list[Json]:
        """What clients wrote of it, in an appeal or with feedback: `{id, statement | comment, preferred_answer}`."""
        return [{"id": id_, **text} for id_, text in self.case.texts.items() if id_.startswith(("rep_", "app_"))]


async def item(store: Store, item_id: str, reviewer: Reviewer) -> OpenedItem:
    """Raises ReviewError when there is none or it is not for them, SealError."""
    async with store.read() as session:
        row = (await session.execute(ENTRIES.where(ReviewItem.id == item_id))).first()
    if row is None:
        raise Unknown(f"there is no item {item_id!r}")
    line = entry(row)
    may_see(reviewer, line.queue, line.tenant)
    await audit.record(store, reviewer.name, "read", item_id, exchange_id=line.exchange_id)
    found, said = await case(store, line.exchange_id), await comments(store, item_id)
    mine = [d for d in found.in_force if d.item_id == item_id and d.reviewer == reviewer.name]
    if mine or reviewer.leads or Role.AUDITOR in reviewer.roles:
        return OpenedItem(line, found, said, bool(mine), row[0].gold if mine else None)
    kept = [d for d in found.decisions if d.reviewer == reviewer.name]
    hidden = {d.id for d in found.decisions if d not in kept}
    hidden |= {a.id for a in found.adjudications} | {c.id for c in said if c.author != reviewer.name}
    texts = {name: text for name, text in found.texts.items() if name not in hidden}
    blind = replace(found, decisions=kept, adjudications=(), texts=texts)
    return OpenedItem(line, blind, [c for c in said if c.author == reviewer.name], False, None)
