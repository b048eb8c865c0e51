"""Rules that hold whoever writes, as triggers, in the words of SQLite and of PostgreSQL. For migrations."""

from dataclasses import dataclass
from typing import Final, Literal

from alembic import op

_CHANGES: Final[tuple[Literal["UPDATE", "DELETE"], ...]] = ("UPDATE", "DELETE")
_SQLITE: Final = """
CREATE TRIGGER {name} BEFORE {event} ON {table} WHEN {condition} BEGIN SELECT RAISE(ABORT, '{message}'); END
"""
_POSTGRES: Final = """
CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {first}
    IF {condition} THEN RAISE EXCEPTION '{message}' USING ERRCODE = 'check_violation'; END IF;
    RETURN NEW;
END $$
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """Refuses `event` on `table` with `message` where `condition` (SQL over OLD and NEW) is true.

    `first`: a PL/pgSQL statement that comes before it on PostgreSQL, such as taking a lock.
    """

    name: str
    table: str
    event: Literal["INSERT", "UPDATE", "DELETE"]
    condition: str
    message: str
    first: str = ""


def append_only(*tables: str) -> tuple[Rule, ...]:
    """Rows of these tables are neither changed nor deleted."""
    return tuple(
        Rule(f"{table}_no_{event.lower()}", table, event, "1 = 1", f"{table} are append-only")
        for table in tables
        for event in _CHANGES
    )


def on_postgres() -> bool:
    """Whether the migration under way is one of PostgreSQL."""
    return op.get_bind().dialect.name == "postgresql"


def keep_up(rule: Rule) -> None:
    """Makes the rule's trigger."""
    words = {name: getattr(rule, name) for name in Rule.__slots__}
    if not on_postgres():
        op.execute(_SQLITE.format(**words))
        return
    op.execute(_POSTGRES.format(**words))
    op.execute(
        f"CREATE TRIGGER {rule.name} BEFORE {rule.event} ON {rule.table} FOR EACH ROW EXECUTE FUNCTION {rule.name}()"
    )


def let_go(rule: Rule) -> None:
    """Removes the rule's trigger."""
    if on_postgres():
        op.execute(f"DROP TRIGGER {rule.name} ON {rule.table}")
        op.execute(f"DROP FUNCTION {rule.name}()")
    else:
        op.execute(f"DROP TRIGGER {rule.name}")
