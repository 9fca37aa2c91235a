"""The images and roles that are offered by name, and the shell's options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rexec.errors import Forbidden, Invalid, Unavailable
from rexec.server.ports.records import Principal
from rexec.server.ports.reference import allowed
from rexec.server.settings import ImageSettings

CUSTOM = "custom"
THEMES = ("rexec", "minimal", "powerlevel10k")
SHELL_DEFAULTS: Mapping[str, Any] = {
    "enhanced": True,
    "theme": "rexec",
    "autosuggestions": True,
    "syntax_highlight": True,
    "history_search": True,
    "git_aliases": True,
    "system_stats": False,
    "use_tmux": False,
}


@dataclass(frozen=True, slots=True)
class Entry:
    name: str
    aliases: tuple[str, ...]
    category: str
    description: str


_LINUX = (
    Entry("ubuntu:24.04", ("ubuntu", "ubuntu-24"), "linux", "Ubuntu 24.04 LTS"),
    Entry("debian:bookworm", ("debian", "debian-12"), "linux", "Debian 12"),
    Entry("alpine:latest", ("alpine",), "linux", "Alpine Linux"),
    Entry("archlinux:latest", ("archlinux",), "linux", "Arch Linux"),
)
_CUSTOM = Entry(CUSTOM, (), CUSTOM, "Any image, named by custom_image")
_MACOS = (Entry("macos", (), "macos", "macOS"), Entry("macos-legacy", (), "macos", "macOS, an older release"))


class Catalogue:
    def __init__(self, settings: ImageSettings, roles: Sequence[str]) -> None:
        self._roles = tuple(roles)
        self._private_registries = settings.private_registries
        extra = tuple(Entry(entry.name, entry.aliases, "linux", entry.description) for entry in settings.extra)
        self.linux = _LINUX + extra
        self._names = {name: entry.name for entry in self.linux for name in (entry.name, *entry.aliases)}

    def entries(self, principal: Principal) -> tuple[Entry, ...]:
        """In the order in which they are offered."""
        return self.linux + (_CUSTOM,) + (_MACOS if _may_macos(principal) else ())

    def check_role(self, role: str | None) -> None:
        if role is not None and role not in self._roles:
            raise Invalid("unsupported role", code="unsupported_role", supported_roles=list(self._roles))

    def resolve(self, principal: Principal, image: str, custom_image: str | None) -> str:
        """The catalogue's spelling. Raises `Invalid`."""
        if image in self._names:
            if custom_image is not None:
                raise _invalid("custom_image", "custom_image goes with the image `custom` only")
            return self._names[image]
        if image == CUSTOM:
            if not custom_image:
                raise _invalid("custom_image", "custom_image is required when image is 'custom'")
            try:
                allowed(custom_image, self._private_registries)
            except Invalid as error:
                raise Invalid(
                    error.message, code=error.code, details=[{"field": "custom_image", "message": error.message}]
                ) from error
            return CUSTOM
        if _is_macos(image):
            return image
        raise Invalid(
            "unsupported image type",
            code="unsupported_image",
            supported_images=[entry.name for entry in self.entries(principal)],
        )


def permit(principal: Principal, image: str) -> None:
    """Raises `Forbidden` (`tier_required`)."""
    if _is_macos(image) and not _may_macos(principal):
        raise Forbidden("macOS needs the tier enterprise", code="tier_required", tier="enterprise")


def runs_here(image: str) -> bool:
    return not _is_macos(image)


def check_host(image: str) -> None:
    """Raises `Unavailable` for macOS, which no host of a container engine runs."""
    if not runs_here(image):
        raise Unavailable(
            "this host cannot run macOS: it lacks Apple hardware and a virtual machine engine",
            code="macos_unavailable",
        )


def shell_options(wanted: Mapping[str, Any], image: str, role: str | None) -> dict[str, Any]:
    """All options with their effective values."""
    plain = {"enhanced": False} if image == CUSTOM or role == "barebone" else {}
    return {**SHELL_DEFAULTS, **plain, **wanted}


def _is_macos(image: str) -> bool:
    return any(image == entry.name for entry in _MACOS)


def _may_macos(principal: Principal) -> bool:
    return principal.is_admin or principal.tier == "enterprise"


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(message, details=[{"field": field, "message": message}])
