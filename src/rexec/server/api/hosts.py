"""By which names a server may be called. A stranger's page can have its own name resolve to a loopback address (DNS
rebinding), and would then be the server's own Origin to the browser."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from rexec.errors import Forbidden
from rexec.server.settings import Settings


class Hosts:
    """Names are checked where the server listens on loopback only; elsewhere once the settings name some."""

    def __init__(self, settings: Settings) -> None:
        public = urlsplit(settings.public_url).hostname if settings.public_url else None
        named = {name.lower() for name in settings.allowed_hosts}
        self._names = named | {"localhost", settings.host.lower()} | ({public.lower()} if public else set())
        self._checked = bool(named) or settings.host == "localhost" or _is_loopback(settings.host)

    def check(self, headers: Headers) -> None:
        """An address is no name, and programs that send no Host are no browsers. Raises `Forbidden`."""
        host = headers.get("host", "")
        name = _name(host)
        if self._checked and host and not _is_address(name) and name not in self._names:
            raise Forbidden(
                f"this server is not called {name[:100]!r}: REXEC_ALLOWED_HOSTS names its names", code="host_refused"
            )


def _name(host: str) -> str:
    """Without the port; what cannot be read is a name that nobody has."""
    with suppress(ValueError):
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    return host


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        ip_address(name)
        return True
    return False


def _is_loopback(name: str) -> bool:
    with suppress(ValueError):
        return ip_address(name).is_loopback
    return False
