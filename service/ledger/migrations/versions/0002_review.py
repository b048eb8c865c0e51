"""Review: items, claims, whole decisions, adjudications, users, audit, retention. What waits already gets its items."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_QUEUES = sa.table("queues", *map(sa.column, ("name", "description", "restricted", "reviews_wanted", "target_s")))
_BUILT_IN = (
    ("default", "what was flagged, sampled, reported or appealed against", False, 1, 86_400.0),
    ("urgent", "somebody may be about to be hurt", False, 1, 900.0),
    ("restricted", "child exploitation: for reviewers of that clearance alone, and never exported", True, 1, 3600.0),
)


def _columns() -> list[tuple[str, "sa.Column[Any]"]]:
    return [
        ("decisions", sa.Column("item_id", sa.String(), server_default="", nullable=False)),
        ("decisions", sa.Column("severity", sa.BigInteger(), nullable=True)),
        ("decisions", sa.Column("confidence", sa.Double(), nullable=True)),
        ("decisions", sa.Column("spans", sa.JSON(), server_default="[]", nullable=False)),
        ("decisions", sa.Column("guard_visible", sa.Boolean(), nullable=True)),
        ("decisions", sa.Column("duration_s", sa.Double(), nullable=True)),
        ("decisions", sa.Column("withdrawn", sa.Boolean(), server_default=sa.false(), nullable=False)),
        ("exchanges", sa.Column("legal_hold", sa.Boolean(), server_default=sa.false(), nullable=False)),
        ("exchanges", sa.Column("retention_class", sa.String(), server_default="flagged", nullable=False)),
    ]


_TABLES = (
    *("export_items", "exports", "sessions", "users", "outbox", "appeals", "reports", "comments", "adjudications"),
    *("exposures", "skips", "claims", "review_items", "queues", "tombstones", "audit_log"),
)
_FOUND = "EXISTS (SELECT 1 FROM verdicts v WHERE v.exchange_id = e.id AND v.error IS NULL AND v.category IN ({}))"
_ITEMS = """
INSERT INTO review_items (id, exchange_id, queue, why, inclusion_probability, priority, created_at, due_at, state,
                          reviews_wanted, reviews_done, category, categories)
SELECT 'item_' || substr(e.id, 5), e.id, q.name, CASE WHEN e.flagged THEN 'flagged' ELSE 'chosen' END,
       CASE WHEN e.flagged THEN 1.0 END, CASE WHEN q.name = 'default' THEN 2 ELSE 0 END, e.closed_at,
       e.asked_at + q.target_s, CASE WHEN d.reviewers > 0 THEN 'decided' ELSE 'open' END, 1, coalesce(d.reviewers, 0),
       c.category, coalesce(c.categories, '')
FROM exchanges e
LEFT JOIN (SELECT exchange_id, count(DISTINCT reviewer) AS reviewers FROM decisions GROUP BY exchange_id) d
       ON d.exchange_id = e.id
LEFT JOIN (SELECT exchange_id, min(category) AS category, ',' || {joined} || ',' AS categories
           FROM (SELECT DISTINCT exchange_id, category FROM verdicts WHERE error IS NULL) v GROUP BY exchange_id) c
       ON c.exchange_id = e.id
JOIN queues q ON q.name = CASE WHEN {restricted} THEN 'restricted' WHEN {urgent} THEN 'urgent' ELSE 'default' END
WHERE e.flagged OR d.reviewers > 0
"""
_SQLITE = """
CREATE TRIGGER {name} BEFORE {event} ON {table} WHEN {condition} BEGIN SELECT RAISE(ABORT, '{message}'); END
"""
_POSTGRES = """
CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {first}
    IF {condition} THEN RAISE EXCEPTION '{message}' USING ERRCODE = 'check_violation'; END IF;
    RETURN NEW;
END $$
"""
# claims made at the same moment see each other only in turn
_IN_TURN = "PERFORM 1 FROM review_items i WHERE i.id = NEW.item_id FOR UPDATE;"
_HEARD = """
EXISTS (SELECT 1 FROM review_items i WHERE i.id = NEW.item_id AND i.why = 'appeal') AND (
    EXISTS (SELECT 1 FROM decisions d WHERE d.exchange_id = NEW.exchange_id AND d.item_id <> NEW.item_id
            AND d.reviewer = NEW.{who})
    OR EXISTS (SELECT 1 FROM adjudications a WHERE a.exchange_id = NEW.exchange_id AND a.adjudicator = NEW.{who}))
"""
_APPEND_ONLY = ("verdicts", "decisions", "adjudications", "audit_log", "tombstones")
_RULES = (  # name, table, event, when it is broken, what to say
    *(
        (f"{table}_no_{event.lower()}", table, event, "1 = 1", f"{table} are append-only")
        for table in _APPEND_ONLY
        for event in ("UPDATE", "DELETE")
    ),
    (
        "decisions_of_item",
        "decisions",
        "INSERT",
        "NOT EXISTS (SELECT 1 FROM review_items i WHERE i.id = NEW.item_id AND i.exchange_id = NEW.exchange_id)",
        "a decision belongs to an item of its exchange",
    ),
    (
        "decisions_supersede_own",
        "decisions",
        "INSERT",
        "NEW.supersedes IS NOT NULL AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.id = NEW.supersedes"
        " AND d.item_id = NEW.item_id AND d.reviewer = NEW.reviewer)",
        "a decision supersedes one of the same reviewer on the same item",
    ),
    (
        "decisions_not_of_adjudicator",
        "decisions",
        "INSERT",
        "EXISTS (SELECT 1 FROM adjudications a WHERE a.item_id = NEW.item_id AND a.adjudicator = NEW.reviewer)",
        "whoever adjudicated an item does not decide it",
    ),
    ("decisions_appeal", "decisions", "INSERT", _HEARD.format(who="reviewer"), "nobody hears an appeal on their own"),
    (
        "adjudications_four_eyes",
        "adjudications",
        "INSERT",
        "EXISTS (SELECT 1 FROM decisions d WHERE d.item_id = NEW.item_id AND d.reviewer = NEW.adjudicator)",
        "nobody adjudicates what they decided",
    ),
    (
        "adjudications_appeal",
        "adjudications",
        "INSERT",
        _HEARD.format(who="adjudicator"),
        "nobody hears an appeal on their own",
    ),
    (
        "review_items_stay_restricted",
        "review_items",
        "UPDATE",
        "EXISTS (SELECT 1 FROM queues a, queues b WHERE a.name = OLD.queue AND b.name = NEW.queue"
        " AND a.restricted AND NOT b.restricted)",
        "a restricted item stays restricted",
    ),
    (
        "claims_wanted",
        "claims",
        "INSERT",
        "EXISTS (SELECT 1 FROM review_items i WHERE i.id = NEW.item_id AND i.gold IS NULL AND (SELECT count(*)"
        " FROM claims c WHERE c.item_id = i.id AND c.reviewer <> NEW.reviewer AND c.leased_until > NEW.taken_at)"
        " >= CASE WHEN i.state = 'open' THEN i.reviews_wanted - i.reviews_done ELSE 1 END)",
        "no further review is wanted of this item",
    ),
)


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("detail", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("previous_hash", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_log")),
        sa.UniqueConstraint("hash", name=op.f("uq_audit_log_hash")),
    )
    with op.batch_alter_table("audit_log", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_log_actor"), ["actor"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_log_object"), ["object"], unique=False)

    op.create_table(
        "exports",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("examples", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exports")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("payload", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("done_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.create_index("ix_outbox_waiting", ["not_before"], unique=False, **_where("done_at IS NULL"))

    op.create_table(
        "queues",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("restricted", sa.Boolean(), nullable=False),
        sa.Column("reviews_wanted", sa.BigInteger(), nullable=False),
        sa.Column("target_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_queues")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("login", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("preferences", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("disabled_at", sa.Double(), nullable=True),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("locked_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("login", name=op.f("uq_users_login")),
    )
    op.create_table(
        "export_items",
        sa.Column("export_id", sa.String(), nullable=False),
        sa.Column("exchange_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["exchange_id"], ["exchanges.id"], name=op.f("fk_export_items_exchange_id")),
        sa.ForeignKeyConstraint(["export_id"], ["exports.id"], name=op.f("fk_export_items_export_id")),
        sa.PrimaryKeyConstraint("export_id", "exchange_id", name=op.f("pk_export_items")),
    )
    with op.batch_alter_table("export_items", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_export_items_exchange_id"), ["exchange_id"], unique=False)

    op.create_table(
        "review_items",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("exchange_id", sa.String(), nullable=False),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("inclusion_probability", sa.Double(), nullable=True),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reviews_wanted", sa.BigInteger(), nullable=False),
        sa.Column("reviews_done", sa.BigInteger(), nullable=False),
        sa.Column("category", sa.String(), nullable=True),
        sa.Column("categories", sa.String(), nullable=False),
        sa.Column("gold", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("escalated_at", sa.Double(), nullable=True),
        sa.CheckConstraint("(why = 'gold') = (gold IS NOT NULL)", name="ck_gold"),
        sa.CheckConstraint("state IN ('open', 'contested', 'decided', 'adjudicated', 'closed')", name="ck_state"),
        sa.CheckConstraint("why IN ('flagged', 'sample', 'report', 'appeal', 'gold', 'chosen')", name="ck_why"),
        sa.CheckConstraint("inclusion_probability > 0 AND inclusion_probability <= 1", name="ck_inclusion_probability"),
        sa.CheckConstraint("reviews_wanted >= 1", name="ck_reviews_wanted"),
        sa.ForeignKeyConstraint(["exchange_id"], ["exchanges.id"], name=op.f("fk_review_items_exchange_id")),
        sa.ForeignKeyConstraint(["queue"], ["queues.name"], name=op.f("fk_review_items_queue")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review_items")),
    )
    with op.batch_alter_table("review_items", schema=None) as batch_op:
        batch_op.create_index(
            "ix_review_items_category",
            ["state", "category", "priority", "due_at", "id"],
            unique=False,
            **_where("gold IS NULL"),
        )
        open_ = _where("gold IS NULL AND state = 'open'")
        batch_op.create_index("ix_review_items_due", ["queue", "due_at"], unique=False, **open_)
        created = _where("gold IS NULL")
        batch_op.create_index("ix_review_items_created", ["created_at", "id"], unique=False, **created)
        batch_op.create_index(batch_op.f("ix_review_items_exchange_id"), ["exchange_id"], unique=False)
        batch_op.create_index("ix_review_items_gold", ["queue", "id"], unique=False, **_where("gold IS NOT NULL"))
        batch_op.create_index(
            "ix_review_items_page",
            ["state", "queue", "priority", "due_at", "id"],
            unique=False,
            **_where("gold IS NULL"),
        )
        batch_op.create_index(
            "uq_review_items_waiting", ["exchange_id", "why"], unique=True, **_where("state IN ('open', 'contested')")
        )

    op.create_table(
        "sessions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sessions_user_id"), ["user_id"], unique=False)

    op.create_table(
        "tombstones",
        sa.Column("exchange_id", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["exchange_id"], ["exchanges.id"], name=op.f("fk_tombstones_exchange_id")),
        sa.PrimaryKeyConstraint("exchange_id", name=op.f("pk_tombstones")),
    )
    op.create_table(
        "adjudications",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("exchange_id", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("adjudicator", sa.String(), nullable=False),
        sa.Column("input", sa.String(), nullable=True),
        sa.Column("output", sa.String(), nullable=True),
        sa.Column("action", sa.String(), nullable=True),
        sa.Column("categories", sa.JSON(), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.CheckConstraint(
            "cause IN ('policy_unclear', 'guard_wrong', 'reviewer_slip', 'missing_context', 'hard_case', 'other')",
            name="ck_cause",
        ),
        sa.ForeignKeyConstraint(["exchange_id"], ["exchanges.id"], name=op.f("fk_adjudications_exchange_id")),
        sa.ForeignKeyConstraint(["item_id"], ["review_items.id"], name=op.f("fk_adjudications_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_adjudications")),
        sa.UniqueConstraint("item_id", name=op.f("uq_adjudications_item_id")),
    )
    with op.batch_alter_table("adjudications", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_adjudications_exchange_id"), ["exchange_id"], unique=False)

    op.create_table(
        "appeals",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("exchange_id", sa.String(), nullable=False),
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("decided_at", sa.Double(), nullable=True),
        sa.CheckConstraint("status IN ('received', 'in_review', 'upheld', 'overturned')", name="ck_status"),
        sa.ForeignKeyConstraint(["exchange_id"], ["exchanges.id"], name=op.f("fk_appeals_exchange_id")),
        sa.ForeignKeyConstraint(["item_id"], ["review_items.id"], name=op.f("fk_appeals_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_appeals")),
        sa.UniqueConstraint("exchange_id", name="uq_appeals_exchange_id"),
    )
    with op.batch_alter_table("appeals", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_appeals_item_id"), ["item_id"], unique=False)

    op.create_table(
        "claims",
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("taken_at", sa.Double(), nullable=False),
        sa.Column("leased_until", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["review_items.id"], name=op.f("fk_claims_item_id")),
        sa.PrimaryKeyConstraint("item_id", "reviewer", name=op.f("pk_claims")),
        sa.UniqueConstraint("token", name=op.f("uq_claims_token")),
    )
    with op.batch_alter_table("claims", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_claims_leased_until"), ["leased_until"], unique=False)

    op.create_table(
        "comments",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["review_items.id"], name=op.f("fk_comments_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comments")),
    )
    with op.batch_alter_table("comments", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_comments_item_id"), ["item_id"], unique=False)

    op.create_table(
        "exposures",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("part", sa.String(), nullable=False),
        sa.Column("category", sa.String(), nullable=True),
        sa.Column("chars", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["review_items.id"], name=op.f("fk_exposures_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exposures")),
    )
    with op.batch_alter_table("exposures", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_exposures_reviewer_at"), ["reviewer", "at"], unique=False)

    op.create_table(
        "reports",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("exchange_id", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("rating", sa.BigInteger(), nullable=True),
        sa.Column("categories", sa.JSON(), nullable=False),
        sa.Column("item_id", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["exchange_id"], ["exchanges.id"], name=op.f("fk_reports_exchange_id")),
        sa.ForeignKeyConstraint(["item_id"], ["review_items.id"], name=op.f("fk_reports_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reports")),
    )
    with op.batch_alter_table("reports", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_reports_exchange_id"), ["exchange_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_reports_item_id"), ["item_id"], unique=False)

    op.create_table(
        "skips",
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["review_items.id"], name=op.f("fk_skips_item_id")),
        sa.PrimaryKeyConstraint("item_id", "reviewer", name=op.f("pk_skips")),
    )
    for table, column in _columns():
        op.add_column(table, column)
    op.bulk_insert(_QUEUES, [dict(zip(_QUEUES.c.keys(), row, strict=True)) for row in _BUILT_IN])
    _make_items()
    op.create_index("ix_exchanges_kept", "exchanges", ["retention_class", "closed_at"], **_where("erased_at IS NULL"))
    op.create_index("ix_decisions_reviewer_at", "decisions", ["reviewer", "at"])
    first = _where("supersedes IS NULL")
    op.create_index("uq_decisions_first", "decisions", ["item_id", "reviewer"], unique=True, **first)
    for rule in _RULES:
        _keep_up(*rule)


def downgrade() -> None:
    for name, table, *_ in _RULES:
        if _on_postgres():
            op.execute(f"DROP TRIGGER {name} ON {table}")
            op.execute(f"DROP FUNCTION {name}()")
        else:
            op.execute(f"DROP TRIGGER {name}")
    op.drop_index("uq_decisions_first", "decisions")
    op.drop_index("ix_decisions_reviewer_at", "decisions")
    op.drop_index("ix_exchanges_kept", "exchanges")
    # not in batch: SQLite would make the table anew while others refer to it
    for table, column in _columns():
        op.execute(f"ALTER TABLE {table} DROP COLUMN {column.name}")
    for table in _TABLES:
        op.drop_table(table)


def _on_postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _make_items() -> None:
    joined = "string_agg(category, ',')" if _on_postgres() else "group_concat(category, ',')"
    restricted, urgent = _FOUND.format("'child_exploitation'"), _FOUND.format("'self_harm', 'threats'")
    op.execute(_ITEMS.format(joined=joined, restricted=restricted, urgent=urgent))
    op.execute("UPDATE decisions SET item_id = 'item_' || substr(exchange_id, 5)")
    _chain()


def _chain() -> None:
    """Two first decisions of one reviewer, made at the same moment: the later one comes to supersede."""
    decisions = sa.table("decisions", *map(sa.column, ("id", "item_id", "reviewer", "supersedes", "at")))
    bind = op.get_bind()
    rows = bind.execute(sa.select(decisions).order_by(decisions.c.at, decisions.c.id)).all()
    following = {row.supersedes: row.id for row in rows if row.supersedes is not None}
    ends: dict[Any, str] = {}
    for row in (row for row in rows if row.supersedes is None):
        if (end := ends.get((row.item_id, row.reviewer))) is not None:
            bind.execute(sa.update(decisions).where(decisions.c.id == row.id).values(supersedes=end))
        last = row.id
        while last in following:
            last = following[last]
        ends[row.item_id, row.reviewer] = last


def _keep_up(name: str, table: str, event: str, condition: str, message: str) -> None:
    """The rule as a trigger, in the words of the database at hand."""
    words = {"name": name, "table": table, "event": event, "condition": condition, "message": message}
    if not _on_postgres():
        op.execute(_SQLITE.format(**words))
        return
    op.execute(_POSTGRES.format(first=_IN_TURN if table == "claims" else "", **words))
    op.execute(f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()")
