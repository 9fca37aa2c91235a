"""What wakes the readers of the event log."""

from rexec.server.bus.local import LocalBus
from rexec.server.bus.postgres import PostgresBus

__all__ = ["LocalBus", "PostgresBus"]
