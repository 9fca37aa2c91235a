"""Alembic's entry point; `store.migrate` gives it the connection and its transaction."""

from __future__ import annotations

from alembic import context

from rexec.server.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
