"""The tables of review. Times are unix seconds; what reviewers wrote is sealed in `contents` under the row's own id.

What the database itself keeps up beyond these constraints is in the triggers of migration 0002: verdicts, decisions,
adjudications and the audit log are never changed; a claim needs a review that is still wanted; nobody adjudicates, or
hears an appeal, where they decided; what is restricted stays restricted.
"""

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from service.gate.exchange import Json
from service.ledger.models import Base, Exchange

WHYS = ("flagged", "sample", "report", "appeal", "gold", "chosen", "selected")
STATES = ("open", "contested", "decided", "adjudicated", "closed")  # closed: its texts are gone
CAUSES = ("policy_unclear", "guard_wrong", "reviewer_slip", "missing_context", "hard_case", "other")


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(map(repr, values))})", name=f"ck_{column}")


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


class QueueRow(Base):
    """`target_s`: how soon its items should be decided. `restricted`: for those with that clearance alone."""

    __tablename__ = "queues"

    name: Mapped[str] = mapped_column(primary_key=True)
    description: Mapped[str]
    restricted: Mapped[bool]
    reviews_wanted: Mapped[int]
    target_s: Mapped[float]


class ReviewItem(Base):
    """One question to reviewers about one exchange.

    `priority`: 0 comes first. `category`: the gravest that was flagged; `categories`: all of them, between commas
    (`,harm,hate,`). `gold`: the answer expected; such an item is served now and then and never closes.
    `inclusion_probability`: how likely it was to be here at all, for estimates over all traffic. `reason`: by what a
    selected one was chosen.
    """

    __tablename__ = "review_items"
    __table_args__ = (
        _one_of("why", WHYS),
        _one_of("state", STATES),
        CheckConstraint("reviews_wanted >= 1", name="ck_reviews_wanted"),
        CheckConstraint("inclusion_probability > 0 AND inclusion_probability <= 1", name="ck_inclusion_probability"),
        CheckConstraint("(why = 'gold') = (gold IS NOT NULL)", name="ck_gold"),
        Index("uq_review_items_waiting", "exchange_id", "why", unique=True, **_where("state IN ('open', 'contested')")),
        # queue pages and the next item: ascending all through, so that a page is one range of the index
        Index("ix_review_items_page", "state", "queue", "priority", "due_at", "id", **_where("gold IS NULL")),
        Index("ix_review_items_category", "state", "category", "priority", "due_at", "id", **_where("gold IS NULL")),
        Index("ix_review_items_due", "queue", "due_at", **_where("gold IS NULL AND state = 'open'")),
        Index("ix_review_items_created", "created_at", "id", **_where("gold IS NULL")),
        Index("ix_review_items_gold", "queue", "id", **_where("gold IS NOT NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    exchange_id: Mapped[str] = mapped_column(ForeignKey(Exchange.id), index=True)
    queue: Mapped[str] = mapped_column(ForeignKey(QueueRow.name))
    why: Mapped[str]
    inclusion_probability: Mapped[float | None]
    reason: Mapped[str | None]
    priority: Mapped[int]
    created_at: Mapped[float]
    due_at: Mapped[float]
    state: Mapped[str]
    reviews_wanted: Mapped[int]
    reviews_done: Mapped[int]
    category: Mapped[str | None]
    categories: Mapped[str]
    gold: Mapped[Json | None]
    escalated_at: Mapped[float | None]


class ClaimRow(Base):
    """A reviewer is at an item. Gone once decided, skipped or given back; worth nothing after `leased_until`."""

    __tablename__ = "claims"

    item_id: Mapped[str] = mapped_column(ForeignKey(ReviewItem.id), primary_key=True)
    reviewer: Mapped[str] = mapped_column(primary_key=True)
    token: Mapped[str] = mapped_column(unique=True)
    taken_at: Mapped[float]
    leased_until: Mapped[float] = mapped_column(index=True)


class SkipRow(Base):
    """A reviewer would not, or could not, decide an item. It is not served to them again."""

    __tablename__ = "skips"

    item_id: Mapped[str] = mapped_column(ForeignKey(ReviewItem.id), primary_key=True)
    reviewer: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    at: Mapped[float]


class ExposureRow(Base):
    """What a reviewer had before their eyes. `part`: which text, such as `asked/0` or `0/content`."""

    __tablename__ = "exposures"
    __table_args__ = (Index(None, "reviewer", "at"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    reviewer: Mapped[str]
    item_id: Mapped[str] = mapped_column(ForeignKey(ReviewItem.id))
    part: Mapped[str]
    category: Mapped[str | None]
    chars: Mapped[int]
    action: Mapped[str]
    at: Mapped[float]


class DecisionRow(Base):
    """What a reviewer decided. Never changed: a later one names the one it supersedes.

    `withdrawn`: the reviewer took back what it supersedes and says nothing instead. `severity`: 1 to 4. `confidence`: 0
    to 1. `spans`: `[part, start, end, category]`. `guard_visible`: whether the guards' scores were on the screen.
    """

    __tablename__ = "decisions"
    __table_args__ = (
        Index("uq_decisions_first", "item_id", "reviewer", unique=True, **_where("supersedes IS NULL")),
        Index(None, "reviewer", "at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    exchange_id: Mapped[str] = mapped_column(ForeignKey(Exchange.id), index=True)
    item_id: Mapped[str] = mapped_column(server_default="")  # a trigger holds it to an item of the same exchange
    at: Mapped[float]
    reviewer: Mapped[str]
    input: Mapped[str | None]
    output: Mapped[str | None]
    action: Mapped[str | None]
    categories: Mapped[list[Any]]
    severity: Mapped[int | None]
    confidence: Mapped[float | None]
    spans: Mapped[list[Any]] = mapped_column(server_default="[]")
    guard_visible: Mapped[bool | None]
    duration_s: Mapped[float | None]
    withdrawn: Mapped[bool] = mapped_column(server_default=false())
    supersedes: Mapped[str | None] = mapped_column(ForeignKey("decisions.id"), unique=True)


class AdjudicationRow(Base):
    """The last word on an item whose reviewers disagree, were unsure or asked for it. `cause`: why they did."""

    __tablename__ = "adjudications"
    __table_args__ = (_one_of("cause", CAUSES),)

    id: Mapped[str] = mapped_column(primary_key=True)
    item_id: Mapped[str] = mapped_column(ForeignKey(ReviewItem.id), unique=True)
    exchange_id: Mapped[str] = mapped_column(ForeignKey(Exchange.id), index=True)
    at: Mapped[float]
    adjudicator: Mapped[str]
    input: Mapped[str | None]
    output: Mapped[str | None]
    action: Mapped[str | None]
    categories: Mapped[list[Any]]
    cause: Mapped[str]


class CommentRow(Base):
    __tablename__ = "comments"

    id: Mapped[str] = mapped_column(primary_key=True)
    item_id: Mapped[str] = mapped_column(ForeignKey(ReviewItem.id), index=True)
    author: Mapped[str]
    at: Mapped[float]


class ReportRow(Base):
    """What a client said of an exchange: a thumb, a rating, a report. `item_id`: the item that a report opened."""

    __tablename__ = "reports"

    id: Mapped[str] = mapped_column(primary_key=True)
    exchange_id: Mapped[str] = mapped_column(ForeignKey(Exchange.id), index=True)
    key_id: Mapped[str]
    at: Mapped[float]
    kind: Mapped[str]
    rating: Mapped[int | None]
    categories: Mapped[list[Any]]
    item_id: Mapped[str | None] = mapped_column(ForeignKey(ReviewItem.id), index=True)


class AppealRow(Base):
    __tablename__ = "appeals"
    __table_args__ = (
        _one_of("status", ("received", "in_review", "upheld", "overturned")),
        UniqueConstraint("exchange_id", name="uq_appeals_exchange_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    exchange_id: Mapped[str] = mapped_column(ForeignKey(Exchange.id))
    item_id: Mapped[str] = mapped_column(ForeignKey(ReviewItem.id), index=True)
    key_id: Mapped[str]
    at: Mapped[float]
    status: Mapped[str]
    decided_at: Mapped[float | None]


class CandidateRow(Base):
    """One of the answers that a ranking is between, in the order they are shown. Its texts are sealed under its id."""

    __tablename__ = "candidates"
    __table_args__ = (UniqueConstraint("task_id", "position"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    task_id: Mapped[str]
    position: Mapped[int]
    exchange_id: Mapped[str] = mapped_column(ForeignKey(Exchange.id), index=True)
    model: Mapped[str]
    at: Mapped[float]


class RankingRow(Base):
    """`places`: candidate -> 1 (best) and on, ties share one. `scores`: candidate -> quality -> 1 to 5.

    `withdrawn`: its reviewer took it back; it counts for nothing.
    """

    __tablename__ = "rankings"
    __table_args__ = (
        Index("uq_rankings_task_id_reviewer", "task_id", "reviewer", unique=True, **_where("NOT withdrawn")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    task_id: Mapped[str]
    reviewer: Mapped[str]
    at: Mapped[float]
    places: Mapped[Json]
    scores: Mapped[Json]
    all_bad: Mapped[bool]
    withdrawn: Mapped[bool] = mapped_column(server_default=false())


class OutboxRow(Base):
    """An effect of a decision, held until it can no longer be undone."""

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_waiting", "not_before", **_where("done_at IS NULL")),)

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    payload: Mapped[Json]
    not_before: Mapped[float]
    done_at: Mapped[float | None]


class UserRow(Base):
    """`roles`: see `review.users.Role`. `preferences`: see `review.users.Preferences`."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(primary_key=True)
    login: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    password_hash: Mapped[str]
    roles: Mapped[list[Any]]
    preferences: Mapped[Json]
    created_at: Mapped[float]
    disabled_at: Mapped[float | None]
    failures: Mapped[int]
    locked_until: Mapped[float]


class SessionRow(Base):
    """`id`: keyed hash of the cookie's token."""

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey(UserRow.id), index=True)
    created_at: Mapped[float]
    seen_at: Mapped[float]
    expires_at: Mapped[float]


class ExportRow(Base):
    """A file of training data that was written: which exchanges are in it is in `export_items`."""

    __tablename__ = "exports"

    id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[float]
    by: Mapped[str]
    kind: Mapped[str]
    examples: Mapped[int]
    digest: Mapped[str]


class ExportItem(Base):
    __tablename__ = "export_items"

    export_id: Mapped[str] = mapped_column(ForeignKey(ExportRow.id), primary_key=True)
    exchange_id: Mapped[str] = mapped_column(ForeignKey(Exchange.id), primary_key=True, index=True)
