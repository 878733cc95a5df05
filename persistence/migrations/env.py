"""Runs migrations on the connection that persistence.database hands over."""

from __future__ import annotations

from alembic import context

from persistence.schema import metadata

connection = context.config.attributes["connection"]
# SQLite too can undo a schema change: a migration that is killed half way must leave nothing behind
context.configure(
    connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=True
)  # fmt: skip
with context.begin_transaction():
    context.run_migrations()
