"""Items that were selected to be labelled: `why` knows them, and `reason` says by what they were chosen."""

import sqlalchemy as sa
from alembic import op

from service.ledger.triggers import on_postgres

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_BEFORE = "why IN ('flagged', 'sample', 'report', 'appeal', 'gold', 'chosen')"
_AFTER = "why IN ('flagged', 'sample', 'report', 'appeal', 'gold', 'chosen', 'selected')"


def upgrade() -> None:
    op.add_column("review_items", sa.Column("reason", sa.String(), nullable=True))
    _rewrite(_BEFORE, _AFTER)


def downgrade() -> None:
    op.execute("UPDATE review_items SET why = 'chosen' WHERE why = 'selected'")
    _rewrite(_AFTER, _BEFORE)
    op.drop_column("review_items", "reason")


def _rewrite(old: str, new: str) -> None:
    """On SQLite the way that keeps rows, triggers and indexes: section 7 of its page on ALTER TABLE."""
    if on_postgres():
        op.drop_constraint("ck_why", "review_items")
        op.create_check_constraint("ck_why", "review_items", new)
        return
    connection = op.get_bind()
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    change = "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE type = 'table' AND name = 'review_items'"
    connection.exec_driver_sql(change, (old, new))
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")
