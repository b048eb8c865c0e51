"""Rows of a batch into PostgreSQL by COPY, which is faster than inserts and knows no conflicts: for new rows alone."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import itemgetter
from typing import Any, Final

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.gate.exchange import Json
from service.ledger.models import Base
from service.ledger.trail import Rows

PIECE: Final = 16  # exchanges put together at once: about a millisecond of the event loop
READY: Final = "SELECT 1"  # the driver opens the transaction with the first statement


@dataclass(frozen=True, slots=True)
class Records:
    """Rows of one table as the driver takes them, one tuple of `columns` each."""

    table: str
    columns: Sequence[str]
    rows: list[tuple[Any, ...]] = field(default_factory=list)

    def extend(self, rows: Iterable[Json]) -> None:
        """Documents become their JSON."""
        documents, picked = _documents(self.table).intersection(self.columns), itemgetter(*self.columns)
        for row in rows:
            for name in documents:
                if row[name] is not None:
                    row[name] = orjson.dumps(row[name]).decode()
            self.rows.append(picked(row))


async def records(exchanges: Iterable[Rows]) -> list[Records]:
    """Tables in an order in which what is referred to comes first. Others get their turn in between.

    Not in a thread: it would take the interpreter from the event loop for longer than a piece does.
    """
    made: dict[str, Records] = {}
    for number, tables in enumerate(exchanges):
        if number % PIECE == 0:
            await asyncio.sleep(0)
        for name, rows in tables.items():
            if rows:
                made.setdefault(name, Records(name, tuple(rows[0]))).extend(rows)
    return [made[table.name] for table in Base.metadata.sorted_tables if table.name in made]


async def copy(connection: AsyncConnection, made: Sequence[Records]) -> None:
    """Within the transaction of `connection`. Raises what asyncpg raises: then nothing of the transaction may stay."""
    await connection.exec_driver_sql(READY)
    driver: Any = (await connection.get_raw_connection()).driver_connection
    for one in made:
        await driver.copy_records_to_table(one.table, records=one.rows, columns=one.columns)


@cache
def _documents(table: str) -> frozenset[str]:
    """Columns that hold JSON."""
    return frozenset(c.name for c in Base.metadata.tables[table].columns if isinstance(c.type, sa.JSON))
