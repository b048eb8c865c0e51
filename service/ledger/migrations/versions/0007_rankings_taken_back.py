"""A ranking can be taken back: it stays, withdrawn, and its reviewer may rank the task again."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ONE = "uq_rankings_task_id_reviewer"


def upgrade() -> None:
    with op.batch_alter_table("rankings") as table:  # SQLite makes the table anew; nothing refers to it
        table.add_column(sa.Column("withdrawn", sa.Boolean(), server_default=sa.false(), nullable=False))
        table.drop_constraint(_ONE, type_="unique")
    standing = sa.text("NOT withdrawn")
    columns = ["task_id", "reviewer"]
    op.create_index(_ONE, "rankings", columns, unique=True, sqlite_where=standing, postgresql_where=standing)


def downgrade() -> None:
    op.drop_index(_ONE, "rankings")
    op.execute("DELETE FROM rankings WHERE withdrawn")
    with op.batch_alter_table("rankings") as table:
        table.drop_column("withdrawn")
        table.create_unique_constraint(_ONE, ["task_id", "reviewer"])
