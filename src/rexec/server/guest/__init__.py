"""The server's side of docs/guest-protocol.md."""

from rexec.server.guest.links import Links

__all__ = ["Links"]
