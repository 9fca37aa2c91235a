"""The seam between an engine and where images come from."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from rexec.server.ports.records import Image, PullProgress

ProgressCallback: TypeAlias = Callable[[PullProgress], None]


@dataclass(frozen=True, slots=True)
class LayerProgress:
    """One report on one layer of a pull. `total` is 0 while the layer's size is not known."""

    layer: str
    step: Literal["waiting", "downloading", "downloaded", "extracting", "done"]
    current: int = 0
    total: int = 0


class LocalImages(Protocol):
    """What an engine lets an image source do with the images it holds. Errors are those of `ports.engine.Engine`."""

    async def image(self, ref: str) -> Image | None: ...

    def pull(self, ref: str) -> AsyncGenerator[LayerProgress, None]:
        """Fetch from the registry that `ref` names, told layer by layer. Leaving the iteration ends the pull."""

    async def import_root(self, archive: Path, ref: str, changes: Sequence[str]) -> None:
        """Make an image of a tar of a root file system; `changes` are Dockerfile instructions (`CMD …`, `ENV …`)."""

    async def tag(self, source: str, target: str) -> None: ...

    async def remove_image(self, ref: str) -> None: ...


class ImageSource(Protocol):
    """Where images come from when an engine does not hold them."""

    async def fetch(self, ref: str, local: LocalImages, progress: ProgressCallback, *, timeout: float) -> Image:
        """See `ports.engine.Engine.prepare`."""
