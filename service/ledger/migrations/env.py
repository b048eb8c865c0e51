"""Run by Alembic, on the connection that `Store.migrate` hands over."""

from alembic import context

import service.ledger.desk
import service.ledger.lineage  # noqa: F401  their tables are of the same metadata
from service.ledger.models import Base

connection = context.config.attributes["connection"]
if connection.dialect.name == "postgresql":  # a migration that waits for a lock would stop everybody behind it
    connection.exec_driver_sql("SET LOCAL lock_timeout = '10s'")
    connection.exec_driver_sql("SET LOCAL statement_timeout = '1h'")
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
