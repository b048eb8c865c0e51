"""Marks: what tells near-duplicates among what was flagged. Stored from now on; what is there already has none."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "marks",
        sa.Column("exchange_id", sa.String(), nullable=False),
        sa.Column("mark", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["exchange_id"], ["exchanges.id"], name=op.f("fk_marks_exchange_id")),
        sa.PrimaryKeyConstraint("exchange_id", "mark", name=op.f("pk_marks")),
    )
    op.create_index(op.f("ix_marks_mark"), "marks", ["mark"])


def downgrade() -> None:
    op.drop_table("marks")
