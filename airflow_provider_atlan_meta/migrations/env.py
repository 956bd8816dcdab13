"""alembic's entry: runs the revisions on the connection that ``migrations.runner`` hands over."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table="schema_revision", version_table_schema="meta")
with context.begin_transaction():
    context.run_migrations()
