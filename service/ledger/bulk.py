"""Rows of a batch into PostgreSQL by COPY, which is faster than inserts and knows no conflicts: for new rows alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any, Final

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.ledger.models import Base
from service.ledger.trail import Rows

READY: Final = "SELECT 1"  # the driver opens the transaction with the first statement


@dataclass(frozen=True, slots=True)
class Records:
    """Rows of one table as the driver takes them, one tuple of `columns` each."""

    table: str
    columns: Sequence[str]
    rows: list[tuple[Any, ...]]


def records(rows: Rows) -> list[Records]:
    """In an order in which what is referred to comes first. Documents in `rows` become their JSON."""
    made = []
    for table in Base.metadata.sorted_tables:
        if some := rows.get(table.name):
            for name in _documents(table.name).intersection(some[0]):
                for row in some:
                    if row[name] is not None:
                        row[name] = orjson.dumps(row[name]).decode()
            columns = list(some[0])
            made.append(Records(table.name, columns, list(map(itemgetter(*columns), some))))
    return made


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
