"""Learning: datasets, runs, versions of models, where each stands and how it came there, what shadows said."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLES = (
    *("beside", "promotions", "model_stages", "model_datasets", "model_versions", "training_runs"),
    *("dataset_items", "dataset_versions", "datasets"),
)
_SQLITE = """
CREATE TRIGGER {name} BEFORE {event} ON {table} WHEN {condition} BEGIN SELECT RAISE(ABORT, '{message}'); END
"""
_POSTGRES = """
CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {condition} THEN RAISE EXCEPTION '{message}' USING ERRCODE = 'check_violation'; END IF;
    RETURN NEW;
END $$
"""
_RULES = (  # name, table, event, when it is broken, what to say
    *(
        (f"{table}_no_{event.lower()}", table, event, "1 = 1", f"{table} are never changed")
        for table in ("dataset_versions", "dataset_items", "model_versions", "model_datasets", "promotions")
        for event in ("UPDATE", "DELETE")
    ),
    (
        "training_runs_end_once",
        "training_runs",
        "UPDATE",
        "OLD.state <> 'running'",
        "a run that has ended stays as it is",
    ),
    (
        "model_stages_name",
        "model_stages",
        "INSERT",
        "NOT EXISTS (SELECT 1 FROM model_versions m WHERE m.id = NEW.model_id AND m.name = NEW.name)",
        "a stage has the name of its version",
    ),
)


def _text(name: str, nullable: bool = False) -> "sa.Column[Any]":
    return sa.Column(name, sa.String(), nullable=nullable)


def _number(name: str, nullable: bool = False) -> "sa.Column[Any]":
    return sa.Column(name, sa.Double(), nullable=nullable)


def _object(name: str) -> "sa.Column[Any]":
    return sa.Column(name, sa.JSON(none_as_null=True), nullable=False)


def _list(name: str) -> "sa.Column[Any]":
    return sa.Column(name, sa.JSON(), nullable=False)


def _refers(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [to], name=op.f(f"fk_{table}_{column}"))


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table}"))


def _among(column: str, values: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"{column} IN ({', '.join(map(repr, values.split()))})", name=f"ck_{column}")


def upgrade() -> None:
    _datasets()
    _models()
    op.create_table(
        "beside",
        *map(_text, ("exchange_id", "digest", "guard", "version", "enforced")),
        _number("at"),
        _object("scores"),
        _refers("beside", "exchange_id", "exchanges.id"),
        _key("beside", "exchange_id", "digest"),
    )
    op.create_index(op.f("ix_beside_digest_at"), "beside", ["digest", "at"])
    for rule in _RULES:
        _keep_up(*rule)


def _datasets() -> None:
    op.create_table("datasets", _text("name"), _number("at"), _key("datasets", "name"))
    op.create_table(
        "dataset_versions",
        *map(_text, ("digest", "name", "version")),
        _number("at"),
        _text("by"),
        _object("manifest"),
        _refers("dataset_versions", "name", "datasets.name"),
        _key("dataset_versions", "digest"),
        sa.UniqueConstraint("name", "version", name=op.f("uq_dataset_versions_name_version")),
    )
    op.create_table(
        "dataset_items",
        *map(_text, ("digest", "exchange_id")),
        _refers("dataset_items", "digest", "dataset_versions.digest"),
        _key("dataset_items", "digest", "exchange_id"),
    )
    op.create_index(op.f("ix_dataset_items_exchange_id"), "dataset_items", ["exchange_id"])
    op.create_table(
        "training_runs",
        *map(_text, ("id", "verb", "recipe", "recipe_digest")),
        _list("datasets"),
        *map(_text, ("revision", "state")),
        _object("metrics"),
        _text("by"),
        _number("at"),
        _number("ended_at", nullable=True),
        _among("state", "running done failed"),
        _key("training_runs", "id"),
    )


def _models() -> None:
    op.create_table(
        "model_versions",
        *map(_text, ("id", "kind", "name", "version", "digest", "folder")),
        _text("run_id", nullable=True),
        _text("parent", nullable=True),
        _object("metrics"),
        _object("gates"),
        _text("card"),
        _number("at"),
        _text("by"),
        _among("kind", "guard adapter"),
        _refers("model_versions", "run_id", "training_runs.id"),
        _key("model_versions", "id"),
        sa.UniqueConstraint("name", "version", name=op.f("uq_model_versions_name_version")),
    )
    op.create_table(
        "model_datasets",
        *map(_text, ("model_id", "digest")),
        _refers("model_datasets", "model_id", "model_versions.id"),
        _refers("model_datasets", "digest", "dataset_versions.digest"),
        _key("model_datasets", "model_id", "digest"),
    )
    op.create_index(op.f("ix_model_datasets_digest"), "model_datasets", ["digest"])
    op.create_table(
        "model_stages",
        *map(_text, ("model_id", "name", "stage")),
        _number("share", nullable=True),
        _list("key_ids"),
        _number("at"),
        _among("stage", "registered shadow canary enforced retired"),
        sa.CheckConstraint("share >= 0 AND share <= 1", name="ck_share"),
        _refers("model_stages", "model_id", "model_versions.id"),
        _key("model_stages", "model_id"),
    )
    taken = sa.text("stage IN ('shadow', 'canary', 'enforced')")
    where: dict[str, Any] = {"sqlite_where": taken, "postgresql_where": taken}
    op.create_index("uq_model_stages_taken", "model_stages", ["name", "stage"], unique=True, **where)
    op.create_table(
        "promotions",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        _number("at"),
        *map(_text, ("by", "name")),
        _text("model_id", nullable=True),
        _text("action"),
        _text("replaced", nullable=True),
        _number("share", nullable=True),
        _list("key_ids"),
        _text("reason"),
        sa.Column("override", sa.Boolean(), nullable=False),
        _among("action", "register shadow canary enforce retire rollback"),
        _refers("promotions", "model_id", "model_versions.id"),
        _refers("promotions", "replaced", "model_versions.id"),
        _key("promotions", "seq"),
    )
    op.create_index(op.f("ix_promotions_name_seq"), "promotions", ["name", "seq"])


def downgrade() -> None:
    for name, table, *_ in _RULES:
        if _on_postgres():
            op.execute(f"DROP TRIGGER {name} ON {table}")
            op.execute(f"DROP FUNCTION {name}()")
        else:
            op.execute(f"DROP TRIGGER {name}")
    for table in _TABLES:
        op.drop_table(table)


def _on_postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _keep_up(name: str, table: str, event: str, condition: str, message: str) -> None:
    """The rule as a trigger, in the words of the database at hand."""
    words = {"name": name, "table": table, "event": event, "condition": condition, "message": message}
    if not _on_postgres():
        op.execute(_SQLITE.format(**words))
        return
    op.execute(_POSTGRES.format(**words))
    op.execute(f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()")
