"""What wakes the readers of the event log: in this process, or (`bus.postgres`) in all that share a database."""

from rexec.server.bus.local import LocalBus

__all__ = ["LocalBus"]
