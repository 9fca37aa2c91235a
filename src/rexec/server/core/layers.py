"""Roles as layers: found when they are baked, baked once for all who wait, removed when nobody needs them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Self

import structlog

from rexec.errors import Broken, Conflict, NotFound, RexecError, Unavailable
from rexec.server.core.bake import BASE, IMAGE, MADE_OF, MISSING, Bake, layer_reference
from rexec.server.core.clock import Clock
from rexec.server.core.recipes import MANAGERS, Recipe
from rexec.server.flights import Flights
from rexec.server.ports.images import ProgressCallback
from rexec.server.ports.layers import ROLE_LABEL, LayerEngine, LocalLayer
from rexec.server.ports.records import Image

_log = structlog.get_logger(__name__)
_COLLECT_EVERY = 3600.0
_STALE_BUILD = timedelta(hours=2)
_TRY_AGAIN = timedelta(days=1)
"""A layer that lacks something is made again after this long, by the next creation that wants it."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What to run for a role on an image."""

    ref: str
    role: str
    image: str
    base: str
    size_bytes: int = 0
    created_at: datetime | None = None
    fingerprint: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def degraded(self) -> tuple[str, ...]:
        return tuple(f"the role {self.role} lacks {tool}: {why}" for tool, why in self.missing.items())


class Layers:
    """An async context manager: tidies up when it is entered and every hour while it is."""

    def __init__(
        self, engine: LayerEngine, bake: Bake, recipes: Mapping[str, Recipe], clock: Clock, *,
        builder: str, at_once: int, unused_days: int,
    ) -> None:  # fmt: skip
        self.recipes = recipes
        self._engine = engine
        self._bake = bake
        self._clock = clock
        self._builder = builder
        self._unused = timedelta(days=unused_days)
        self._turns = asyncio.Semaphore(at_once)
        self._flights: Flights[Layer] = Flights()
        self._known: dict[tuple[str, str], list[str]] = {}
        self._tidying: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        with suppress(Unavailable):
            await self.sweep(own=True)
        self._tidying = asyncio.create_task(self._tidy())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.wait([self._tidying])

    async def baked(self, role: str, image: Image) -> Layer | None:
        recipe = self._recipe(role)
        if recipe.is_empty:
            return Layer(image.ref, role, image.ref, image.digest)
        layer = await self._found(recipe, image)
        if layer is None or layer.created_at is None or not layer.missing:
            return layer
        return layer if self._clock() - layer.created_at < _TRY_AGAIN else None

    async def prepare(self, role: str, image: Image, progress: ProgressCallback, *, afresh: bool = False) -> Layer:
        """Baked now if it is not there yet; `afresh`: also if it is there and lacks something. All who wait for the
        same one share one bake."""
        layer = await self.baked(role, image)
        if layer is not None and not (afresh and layer.missing):
            return layer
        recipe = self._recipe(role)
        return await self._flights.join(f"{role} {image.digest}", partial(self._make, recipe, image), progress)

    async def all(self) -> list[Layer]:
        return [_read(local) for local in await self._engine.layers(own=False)]

    def is_current(self, layer: Layer, image: Image | None) -> bool:
        """Whether a creation would use it. `image`: what its image's name stands for now."""
        recipe = self.recipes.get(layer.role)
        if recipe is None or image is None or image.digest != layer.base:
            return False
        return layer.fingerprint in self._fingerprints(recipe, image)

    async def collect(self) -> list[str]:
        """Remove what no creation would use any more, and what nobody used for long; what containers use stays."""
        removed = []
        for layer in map(_read, await self._engine.layers(own=True)):
            current = self.is_current(layer, await self._engine.image(layer.image))
            age = self._clock() - layer.created_at if layer.created_at else timedelta()
            if current and age < self._unused:
                continue
            with suppress(Conflict):
                await self._engine.remove_image(layer.ref)
                removed.append(layer.ref)
                _log.info("a layer was removed", ref=layer.ref, role=layer.role, image=layer.image, current=current)
        return removed

    async def sweep(self, *, own: bool) -> None:
        """Remove the containers of builds that nobody carries on: anybody's that are too old, and with `own` (before
        anything is baked here) those that this server made before it was killed."""
        for build in await self._engine.builds():
            if (own and build.builder == self._builder) or self._clock() - build.created_at > _STALE_BUILD:
                _log.info("a build that was cut off is removed", key=build.key)
                await self._engine.delete(build.key)

    async def _make(self, recipe: Recipe, image: Image, progress: ProgressCallback) -> Layer:
        async with self._turns:
            _log.info("baking", role=recipe.role, image=image.ref)
            made = await self._bake.run(recipe, image, progress)
            layer = await self._found(recipe, image)
        if layer is None:
            raise NotFound(f"the layer {made.ref} is gone", code="image_not_found")
        _log.info("baked", role=recipe.role, image=image.ref, ref=layer.ref, missing=dict(layer.missing))
        return layer

    async def _found(self, recipe: Recipe, image: Image) -> Layer | None:
        """Which of the package managers an image has is known once something was baked on it."""
        for fingerprint in self._fingerprints(recipe, image):
            found = await self._engine.image(layer_reference(image, fingerprint))
            if found is not None and found.labels.get(ROLE_LABEL) == recipe.role:
                return _read(LocalLayer(found.ref, found.digest, found.size_bytes, found.created_at, found.labels))
        return None

    def _fingerprints(self, recipe: Recipe, image: Image) -> list[str]:
        """By package manager."""
        key = (recipe.role, image.architecture)
        if key not in self._known:
            self._known[key] = []
            for manager in MANAGERS:
                with suppress(Broken):
                    self._known[key].append(recipe.applied(manager, image.architecture).fingerprint)
        return self._known[key]

    def _recipe(self, role: str) -> Recipe:
        recipe = self.recipes.get(role)
        if recipe is None:
            raise NotFound(f"there is no recipe for the role {role} any more", code="setup_failed")
        return recipe

    async def _tidy(self) -> None:
        while True:
            try:
                await self.sweep(own=False)
                await self.collect()
            except RexecError as error:
                _log.warning("layers could not be tidied up", error=error.message)
            await asyncio.sleep(_COLLECT_EVERY)


def _read(local: LocalLayer) -> Layer:
    labels = local.labels
    try:
        missing: dict[str, Any] = json.loads(labels.get(MISSING) or "{}")
    except ValueError:
        missing = {}
    return Layer(
        ref=local.ref, role=labels.get(ROLE_LABEL, ""), image=labels.get(IMAGE, ""), base=labels.get(BASE, ""),
        size_bytes=local.size_bytes, created_at=local.created_at, fingerprint=labels.get(MADE_OF, ""),
        missing={str(tool): str(why) for tool, why in missing.items()},
    )  # fmt: skip
