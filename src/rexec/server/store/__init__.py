"""What is remembered, on SQLite or PostgreSQL."""

from rexec.server.store.database import SqlDatabase

__all__ = ["SqlDatabase"]
