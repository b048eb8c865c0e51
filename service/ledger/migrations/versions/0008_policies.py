"""Policies: the text behind every digest that an exchange names, from now on."""

import sqlalchemy as sa
from alembic import op

from service.ledger.triggers import append_only, keep_up, let_go

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_RULES = append_only("policies", "policy_parts")


def upgrade() -> None:
    op.create_table(
        "policies",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_policies")),
    )
    op.create_index(op.f("ix_policies_at"), "policies", ["at"])
    op.create_table(
        "policy_parts",
        sa.Column("file", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["file"], ["policies.digest"], name=op.f("fk_policy_parts_file")),
        sa.PrimaryKeyConstraint("file", "source", name=op.f("pk_policy_parts")),
    )
    op.create_index(op.f("ix_policy_parts_digest"), "policy_parts", ["digest"])
    for rule in _RULES:
        keep_up(rule)


def downgrade() -> None:
    for rule in _RULES:
        let_go(rule)
    op.drop_table("policy_parts")
    op.drop_table("policies")
