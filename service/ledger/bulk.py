"""Rows of a batch into PostgreSQL by COPY, which is faster than inserts and knows no conflicts: for new rows alone."""

import json
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from service.gate.exchange import Json
from service.ledger.models import Base
from service.ledger.trail import Rows

READY: Final = "SELECT 1"  # the driver opens the transaction with the first statement


async def copy(connection: AsyncConnection, rows: Rows) -> None:
    """Within the transaction of `connection`. Raises what asyncpg raises: then nothing of the transaction may stay."""
    await connection.exec_driver_sql(READY)
    driver: Any = (await connection.get_raw_connection()).driver_connection
    for table in Base.metadata.sorted_tables:
        if some := rows.get(table.name):
            names = list(some[0])
            records = _records([table.c[name] for name in names], some)
            await driver.copy_records_to_table(table.name, records=records, columns=names)


def _records(columns: "Sequence[sa.Column[Any]]", rows: Sequence[Json]) -> list[tuple[Any, ...]]:
    documents = {column.name for column in columns if isinstance(column.type, sa.JSON)}
    names = [column.name for column in columns]
    if not documents:
        return [tuple(row[name] for name in names) for row in rows]
    return [tuple(_document(row[n]) if n in documents else row[n] for n in names) for row in rows]


def _document(value: Any) -> str | None:
    return None if value is None else json.dumps(value)
