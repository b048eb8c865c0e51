"""A running gateway notices what happens to the audit log."""

import pytest
import sqlalchemy as sa

from service.ledger import audit
from service.ledger.models import AuditRow
from service.telemetry.metrics import Metrics
from service.watches import AUDIT_ROWS, AuditWatch

ROWS = 7


@pytest.fixture
async def watch(store):
    for number in range(ROWS):
        await audit.record(store, "ada", "look", f"thing {number}")
    async with store.engine.begin() as connection:
        for event in ("update", "delete"):
            on = " ON audit_log" if connection.dialect.name == "postgresql" else ""
            await connection.execute(sa.text(f"DROP TRIGGER audit_log_no_{event}{on}"))
    return AuditWatch(store, Metrics())


async def walk(watch, monkeypatch, rows=AUDIT_ROWS) -> float:
    """Once along the whole log, `rows` at a look; what the gauge says then."""
    monkeypatch.setattr("service.watches.AUDIT_ROWS", rows)
    while (await watch() or watch.at) != audit.START:
        pass
    return watch.metrics.registry.get_sample_value("sluicegate_audit_faults")


async def spoilt(store, statement) -> None:
    async with store.engine.begin() as connection:
        await connection.execute(statement)


@pytest.mark.parametrize("rows", [1, 3, AUDIT_ROWS])
async def test_a_changed_row_is_seen_wherever_a_look_begins(watch, store, monkeypatch, rows):
    """In stretches or at once; nothing is wrong before, and it stays wrong."""
    assert await walk(watch, monkeypatch, rows) == 0
    await spoilt(store, sa.update(AuditRow).where(AuditRow.seq == 4).values(actor="bob"))
    assert [await walk(watch, monkeypatch, rows) for _ in range(3)] == [1, 1, 1]


async def test_rows_gone_from_the_end_are_missed(watch, store, monkeypatch):
    """The chain alone does not show it; who has seen them knows."""
    assert await walk(watch, monkeypatch) == 0
    await spoilt(store, sa.delete(AuditRow).where(AuditRow.seq > ROWS - 2))
    assert (await audit.faults(store))[0] == []
    assert [await walk(watch, monkeypatch) for _ in range(3)] == [1, 1, 1]
    assert watch.found == {f"audit log: rows {ROWS - 1} to {ROWS} are gone from its end"}


async def test_rows_gone_from_the_end_stay_missed_when_others_take_their_numbers(watch, store, monkeypatch):
    assert await walk(watch, monkeypatch) == 0
    await spoilt(store, sa.delete(AuditRow).where(AuditRow.seq > ROWS - 2))
    assert await walk(watch, monkeypatch) == 1
    for number in range(4):
        await audit.record(store, "mallory", "look", f"something else {number}")
    assert [await walk(watch, monkeypatch) for _ in range(2)] == [1, 1]


async def test_new_rows_are_nothing_odd(watch, store, monkeypatch):
    for number in range(3):
        assert await walk(watch, monkeypatch, 2) == 0
        await audit.record(store, "bob", "look", f"another thing {number}")
