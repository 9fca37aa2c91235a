"""The seams of roles' layers: where their builds run, and where what they download comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from rexec.server.ports.images import ProgressCallback
from rexec.server.ports.records import Capacity, Image, Spec

ROLE_LABEL = "rexec.role"
"""On every layer. The other labels of a layer are the bake's own, and the engine keeps them as they are."""


@dataclass(frozen=True, slots=True)
class LocalLayer:
    """An image that a build made here."""

    ref: str
    digest: str
    size_bytes: int
    created_at: datetime | None
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Build:
    """The container of a build that is under way, or was when its server died."""

    key: str
    builder: str
    created_at: datetime


class LayerEngine(Protocol):
    """What an engine that can commit does for layers. Errors are those of `ports.engine.Engine`."""

    async def capacity(self) -> Capacity: ...

    async def image(self, ref: str) -> Image | None: ...

    def building(self, spec: Spec, builder: str) -> AbstractAsyncContextManager[None]:
        """A container for one build, named by `spec.engine_key` and never listed among the containers; gone in the
        end, whatever happens. `builder` is whose it is when it is found later."""

    async def commit(self, engine_key: str, ref: str, labels: Mapping[str, str]) -> Image:
        """Make a local image of the container as it is now, without its name, mounts and network."""

    async def builds(self) -> Sequence[Build]: ...

    async def delete(self, engine_key: str) -> None: ...

    async def layers(self, *, own: bool) -> Sequence[LocalLayer]:
        """Installations on one engine share their layers, whose names say what they are; `own`: what this one made."""

    async def remove_image(self, ref: str) -> None:
        """Missing is success; one that containers use is `Conflict`."""


class Downloads(Protocol):
    """Files by address and checksum."""

    async def fetch(self, url: str, sha256: str, progress: ProgressCallback) -> Path:
        """A verified local copy. Raises `NotFound` (`download_unavailable`) when no source has it, `Broken`
        (`checksum_mismatch`) when one has something else."""

    def unpacked(self, archive: Path, name: str, inner: str | None, beneath: str) -> AbstractAsyncContextManager[Path]:
        """An archive (zip, tar, deb; told by the ending of `name`) as a tar of what lies beneath one of its folders;
        with `inner`, of the archive of that name inside it. Raises `Broken` (`bad_archive`)."""
