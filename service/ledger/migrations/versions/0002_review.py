"""Review: items, claims, whole decisions, adjudications, users, audit, retention. What waits already gets its items."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from alembic import op

from service.ledger.triggers import Rule, append_only, keep_up, let_go, on_postgres

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
_KINDS: Mapping[str, type[Any]] = MappingProxyType(
    {"text": sa.String, "int": sa.BigInteger, "real": sa.Double, "yesno": sa.Boolean, "json": sa.JSON}
)
_TABLES = (
    *("export_items", "exports", "sessions", "users", "outbox", "appeals", "reports", "comments", "adjudications"),
    *("exposures", "skips", "claims", "review_items", "queues", "tombstones", "audit_log"),
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
# claims made at the same moment see each other only in turn
_IN_TURN = "PERFORM 1 FROM review_items i WHERE i.id = NEW.item_id FOR UPDATE;"
_HEARD = """
EXISTS (SELECT 1 FROM review_items i WHERE i.id = NEW.item_id AND i.why = 'appeal') AND (
    EXISTS (SELECT 1 FROM decisions d WHERE d.exchange_id = NEW.exchange_id AND d.item_id <> NEW.item_id
            AND d.reviewer = NEW.{who})
    OR EXISTS (SELECT 1 FROM adjudications a WHERE a.exchange_id = NEW.exchange_id AND a.adjudicator = NEW.{who}))
"""
_RULES: tuple[Rule, ...] = (
    *append_only("verdicts", "decisions", "adjudications", "audit_log", "tombstones"),
    Rule(
        "decisions_of_item",
        "decisions",
        "INSERT",
        "NOT EXISTS (SELECT 1 FROM review_items i WHERE i.id = NEW.item_id AND i.exchange_id = NEW.exchange_id)",
        "a decision belongs to an item of its exchange",
    ),
    Rule(
        "decisions_supersede_own",
        "decisions",
        "INSERT",
        "NEW.supersedes IS NOT NULL AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.id = NEW.supersedes"
        " AND d.item_id = NEW.item_id AND d.reviewer = NEW.reviewer)",
        "a decision supersedes one of the same reviewer on the same item",
    ),
    Rule(
        "decisions_not_of_adjudicator",
        "decisions",
        "INSERT",
        "EXISTS (SELECT 1 FROM adjudications a WHERE a.item_id = NEW.item_id AND a.adjudicator = NEW.reviewer)",
        "whoever adjudicated an item does not decide it",
    ),
    Rule(
        "decisions_appeal", "decisions", "INSERT", _HEARD.format(who="reviewer"), "nobody hears an appeal on their own"
    ),
    Rule(
        "adjudications_four_eyes",
        "adjudications",
        "INSERT",
        "EXISTS (SELECT 1 FROM decisions d WHERE d.item_id = NEW.item_id AND d.reviewer = NEW.adjudicator)",
        "nobody adjudicates what they decided",
    ),
    Rule(
        "adjudications_appeal",
        "adjudications",
        "INSERT",
        _HEARD.format(who="adjudicator"),
        "nobody hears an appeal on their own",
    ),
    Rule(
        "review_items_stay_restricted",
        "review_items",
        "UPDATE",
        "EXISTS (SELECT 1 FROM queues a, queues b WHERE a.name = OLD.queue AND b.name = NEW.queue"
        " AND a.restricted AND NOT b.restricted)",
        "a restricted item stays restricted",
    ),
    Rule(
        "claims_wanted",
        "claims",
        "INSERT",
        "EXISTS (SELECT 1 FROM review_items i WHERE i.id = NEW.item_id AND i.gold IS NULL AND (SELECT count(*)"
        " FROM claims c WHERE c.item_id = i.id AND c.reviewer <> NEW.reviewer AND c.leased_until > NEW.taken_at)"
        " >= CASE WHEN i.state = 'open' THEN i.reviews_wanted - i.reviews_done ELSE 1 END)",
        "no further review is wanted of this item",
        first=_IN_TURN,
    ),
)


def upgrade() -> None:
    _records()
    _queues()
    _people()
    _exports()
    _items()
    _at_work()
    _judged_again()
    _from_clients()
    for table, column in _columns():
        op.add_column(table, column)
    op.bulk_insert(_QUEUES, [dict(zip(_QUEUES.c.keys(), row, strict=True)) for row in _BUILT_IN])
    _make_items()
    op.create_index("ix_exchanges_kept", "exchanges", ["retention_class", "closed_at"], **_where("erased_at IS NULL"))
    op.create_index("ix_decisions_reviewer_at", "decisions", ["reviewer", "at"])
    first = _where("supersedes IS NULL")
    op.create_index("uq_decisions_first", "decisions", ["item_id", "reviewer"], unique=True, **first)
    for rule in _RULES:
        keep_up(rule)


def downgrade() -> None:
    for rule in _RULES:
        let_go(rule)
    op.drop_index("uq_decisions_first", "decisions")
    op.drop_index("ix_decisions_reviewer_at", "decisions")
    op.drop_index("ix_exchanges_kept", "exchanges")
    # not in batch: SQLite would make the table anew while others refer to it
    for table, column in _columns():
        op.execute(f"ALTER TABLE {table} DROP COLUMN {column.name}")
    for table in _TABLES:
        op.drop_table(table)


def _records() -> None:
    _table(
        "audit_log",
        "seq int, at real, actor text, action text, object text, detail json, previous_hash text, hash text",
        key="seq",
        unique=("hash",),
        indexes=("actor", "object"),
    )
    _table("tombstones", "exchange_id text, at real, why text, by text", key="exchange_id", refers=_EXCHANGE)
    _table("outbox", "id text, kind text, payload json, not_before real, done_at real?")
    op.create_index("ix_outbox_waiting", "outbox", ["not_before"], **_where("done_at IS NULL"))


def _queues() -> None:
    spec = "name text, description text, restricted yesno, reviews_wanted int, target_s real"
    _table("queues", spec, key="name")


def _people() -> None:
    _table(
        "users",
        "id text, login text, name text, password_hash text, roles json, preferences json, created_at real,"
        " disabled_at real?, failures int, locked_until real",
        unique=("login",),
    )
    _table(
        "sessions",
        "id text, user_id text, created_at real, seen_at real, expires_at real",
        refers={"user_id": "users.id"},
        indexes=("user_id",),
    )


def _exports() -> None:
    _table("exports", "id text, at real, by text, kind text, examples int, digest text")
    _table(
        "export_items",
        "export_id text, exchange_id text",
        key="export_id exchange_id",
        refers=_EXCHANGE | {"export_id": "exports.id"},
        indexes=("exchange_id",),
    )


def _items() -> None:
    _table(
        "review_items",
        "id text, exchange_id text, queue text, why text, inclusion_probability real?, priority int, created_at real,"
        " due_at real, state text, reviews_wanted int, reviews_done int, category text?, categories text, gold json?,"
        " escalated_at real?",
        refers=_EXCHANGE | {"queue": "queues.name"},
        indexes=("exchange_id",),
        checks={
            "gold": "(why = 'gold') = (gold IS NOT NULL)",
            "state": "state IN ('open', 'contested', 'decided', 'adjudicated', 'closed')",
            "why": "why IN ('flagged', 'sample', 'report', 'appeal', 'gold', 'chosen')",
            "inclusion_probability": "inclusion_probability > 0 AND inclusion_probability <= 1",
            "reviews_wanted": "reviews_wanted >= 1",
        },
    )
    for name, columns, condition in (
        ("category", "state category priority due_at id", "gold IS NULL"),
        ("due", "queue due_at", "gold IS NULL AND state = 'open'"),
        ("created", "created_at id", "gold IS NULL"),
        ("gold", "queue id", "gold IS NOT NULL"),
        ("page", "state queue priority due_at id", "gold IS NULL"),
    ):
        op.create_index(f"ix_review_items_{name}", "review_items", columns.split(), **_where(condition))
    waiting = _where("state IN ('open', 'contested')")
    op.create_index("uq_review_items_waiting", "review_items", ["exchange_id", "why"], unique=True, **waiting)


def _at_work() -> None:
    _table(
        "claims",
        "item_id text, reviewer text, token text, taken_at real, leased_until real",
        key="item_id reviewer",
        refers=_ITEM,
        unique=("token",),
        indexes=("leased_until",),
    )
    _table("skips", "item_id text, reviewer text, reason text, at real", key="item_id reviewer", refers=_ITEM)
    _table("comments", "id text, item_id text, author text, at real", refers=_ITEM, indexes=("item_id",))
    _table(
        "exposures",
        "id text, reviewer text, item_id text, part text, category text?, chars int, action text, at real",
        refers=_ITEM,
        indexes=("reviewer at",),
    )


def _judged_again() -> None:
    causes = "'policy_unclear', 'guard_wrong', 'reviewer_slip', 'missing_context', 'hard_case', 'other'"
    _table(
        "adjudications",
        "id text, item_id text, exchange_id text, at real, adjudicator text, input text?, output text?, action text?,"
        " categories json, cause text",
        refers=_EXCHANGE | _ITEM,
        unique=("item_id",),
        indexes=("exchange_id",),
        checks={"cause": f"cause IN ({causes})"},
    )


def _from_clients() -> None:
    _table(
        "appeals",
        "id text, exchange_id text, item_id text, key_id text, at real, status text, decided_at real?",
        refers=_EXCHANGE | _ITEM,
        unique=("exchange_id",),
        indexes=("item_id",),
        checks={"status": "status IN ('received', 'in_review', 'upheld', 'overturned')"},
    )
    _table(
        "reports",
        "id text, exchange_id text, key_id text, at real, kind text, rating int?, categories json, item_id text?",
        refers=_EXCHANGE | _ITEM,
        indexes=("exchange_id", "item_id"),
    )


_EXCHANGE = {"exchange_id": "exchanges.id"}
_ITEM = {"item_id": "review_items.id"}


def _table(
    name: str,
    columns: str,
    key: str = "id",
    refers: Mapping[str, str] = MappingProxyType({}),
    unique: tuple[str, ...] = (),
    indexes: tuple[str, ...] = (),
    checks: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """A table of `columns`: "name kind", a question mark behind what may be missing. Names follow models.Base."""
    parts: list[sa.schema.SchemaItem] = []
    for column in columns.split(","):
        label, kind = column.split()
        kind, missing = kind.rstrip("?"), kind.endswith("?")
        parts.append(sa.Column(label, _KINDS[kind](), nullable=missing, autoincrement=False))
    parts += [sa.CheckConstraint(condition, name=f"ck_{label}") for label, condition in checks.items()]
    for label, to in refers.items():
        parts.append(sa.ForeignKeyConstraint([label], [to], name=op.f(f"fk_{name}_{label}")))
    parts.append(sa.PrimaryKeyConstraint(*key.split(), name=op.f(f"pk_{name}")))
    parts += [sa.UniqueConstraint(label, name=op.f(f"uq_{name}_{label}")) for label in unique]
    op.create_table(name, *parts)
    for some in map(str.split, indexes):
        op.create_index(op.f(f"ix_{name}_{'_'.join(some)}"), name, some)


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def _make_items() -> None:
    joined = "string_agg(category, ',')" if on_postgres() else "group_concat(category, ',')"
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
