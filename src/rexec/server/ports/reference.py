"""Image references, as OCI registries and Docker write them: `[host[:port]/]path[:tag][@algorithm:hex]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from rexec.errors import Invalid
from rexec.server.ports.addresses import is_internal

DEFAULT_REGISTRY = "docker.io"
LOCAL_REGISTRY = "rexec.local"
"""First component of every image we make ourselves: role layers, snapshots, images without their VOLUMEs. It names no
registry, and nobody may ask for it."""

_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*)"
    r"(?::[0-9]{1,5})?",
    re.ASCII,
)
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,}", re.ASCII)
_HEX_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference; `path` carries Docker Hub's `library/` where it is meant."""

    registry: str
    path: str
    tag: str | None
    digest: str | None

    @property
    def host(self) -> str:
        """The registry without its port, an IPv6 literal without its brackets."""
        if self.registry.startswith("["):
            return self.registry[1 : self.registry.index("]")]
        return self.registry.partition(":")[0]

    @property
    def name(self) -> str:
        return f"{self.registry}/{self.path}"

    @property
    def familiar(self) -> str:
        """The short spelling, as people write it."""
        path = f"{self.registry}/{self.path}"
        if self.registry == DEFAULT_REGISTRY:
            path = self.path.removeprefix("library/") if self.path.count("/") == 1 else self.path
        return path + self._suffix()

    def __str__(self) -> str:
        return self.name + self._suffix()

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Reference:
    """Registry, `library/` and the tag `latest` are filled in. Raises `Invalid` (`invalid_reference`)."""
    rest, at, digest = text.partition("@")
    if at:
        _check_digest(text, digest)
    name, tag = _split_tag(rest)
    if tag is not None and not _TAG.fullmatch(tag):
        raise _invalid(text, "the tag is not valid")
    registry, path = _split_registry(name)
    if not _HOST.fullmatch(registry) or not _port_fits(registry):
        raise _invalid(text, "the registry is not valid")
    if not path or not all(_COMPONENT.fullmatch(part) for part in path.split("/")):
        raise _invalid(text, "the name is not valid (lower-case letters, digits, and . _ - between them)")
    if len(registry) + 1 + len(path) > _LONGEST_NAME:
        raise _invalid(text, f"the name is longer than {_LONGEST_NAME} characters")
    return Reference(registry, path, tag or (None if digest else "latest"), digest or None)


def allowed(text: str, private_registries: tuple[str, ...] = ()) -> Reference:
    """What a user may ask for as a custom image: `parse`, and neither an image of ours nor a registry that its very
    name shows to be internal. Names that only resolve to an internal address are found when it is fetched."""
    reference = parse(text)
    if reference.host.lower() == LOCAL_REGISTRY:
        raise Invalid("this name is reserved for local images", code="image_refused")
    if not registry_exempt(reference, private_registries) and _looks_internal(reference.host):
        raise registry_refused(reference)
    return reference


def registry_exempt(reference: Reference, private_registries: tuple[str, ...]) -> bool:
    return "*" in private_registries or reference.registry in private_registries


def registry_refused(reference: Reference) -> Invalid:
    return Invalid(f"registries on internal addresses are not allowed: {reference.registry}", code="image_refused")


def _looks_internal(host: str) -> bool:
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return is_internal(ip_address(host))
    except ValueError:
        return host.replace(".", "").isdigit()


def _split_tag(text: str) -> tuple[str, str | None]:
    head, colon, last = text.rpartition(":")
    if not colon or "/" in last:
        return text, None
    return head, last


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and (any(sign in first for sign in ".:[") or first == "localhost"):
        if first in ("docker.io", "index.docker.io", "registry-1.docker.io"):
            first = DEFAULT_REGISTRY
        return first, f"library/{rest}" if first == DEFAULT_REGISTRY and "/" not in rest else rest
    return DEFAULT_REGISTRY, name if slash else f"library/{name}"


def _port_fits(registry: str) -> bool:
    port = registry.rpartition(":")[2] if not registry.endswith("]") and ":" in registry else ""
    return not port or 0 < int(port) < 65536


def _check_digest(text: str, digest: str) -> None:
    algorithm, _, value = digest.partition(":")
    if not _DIGEST.fullmatch(digest) or len(value) != _HEX_LENGTH.get(algorithm, len(value)):
        raise _invalid(text, "the digest is not valid")


def _invalid(text: str, why: str) -> Invalid:
    return Invalid(f"not a valid image reference: {why}", code="invalid_reference", reference=text[:300])
