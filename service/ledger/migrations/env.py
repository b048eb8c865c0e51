"""Run by Alembic, on the connection that `Store.migrate` hands over."""

from alembic import context

import service.ledger.desk  # noqa: F401  its tables are of the same metadata
from service.ledger.models import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
