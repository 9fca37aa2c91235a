"""Where images come from: the engine's own, then registries (mirrors first), then the distributions' packages."""

from __future__ import annotations

import asyncio
import socket
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

import structlog

from rexec.errors import Broken, NotFound, RexecError, TooLarge, Unavailable
from rexec.server.flights import Flights
from rexec.server.images.build import Mirrors, build, suite
from rexec.server.images.progress import PullMeter
from rexec.server.ports.addresses import is_internal
from rexec.server.ports.images import LocalImages, ProgressCallback
from rexec.server.ports.records import Image
from rexec.server.ports.reference import (
    DEFAULT_REGISTRY,
    LOCAL_REGISTRY,
    Reference,
    parse,
    registry_exempt,
    registry_refused,
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ImageRules:
    """What may be fetched, and from where."""

    mirrors: tuple[str, ...] = ()
    """Registries (`host[:port][/prefix]`) asked for Docker Hub's images before Docker Hub itself."""
    private_registries: tuple[str, ...] = ()
    """Registries (`host[:port]`) that may be used although their address is internal; `*` for all."""
    largest_bytes: int = 20 << 30
    """Unpacked; a pull that is larger already in its packed form is broken off."""
    pulls_at_once: int = 4
    packages: Mirrors = field(default_factory=Mirrors)
    build: bool = True
    """Whether Debian and Ubuntu may be built from their packages."""


class RegistrySource:
    """Implements `ports.images.ImageSource`."""

    def __init__(self, rules: ImageRules) -> None:
        self._rules = rules
        self._flights: Flights[Image] = Flights()
        self._turns = asyncio.Semaphore(rules.pulls_at_once)

    async def fetch(self, ref: str, local: LocalImages, progress: ProgressCallback, *, timeout: float) -> Image:
        reference = parse(ref)
        present = await local.image(reference.familiar)
        if present is not None:
            return present
        if reference.host == LOCAL_REGISTRY:
            raise NotFound(f"the local image {ref} is gone", code="image_not_found")
        try:
            async with asyncio.timeout(timeout):
                return await self._flights.join(str(reference), partial(self._fetch, reference, local), progress)
        except TimeoutError as error:
            raise Unavailable(
                f"the image {reference.familiar} was not fetched within {timeout:.0f} s", code="pull_failed"
            ) from error

    async def _fetch(self, reference: Reference, local: LocalImages, progress: ProgressCallback) -> Image:
        async with self._turns:
            try:
                await self._pull_somewhere(reference, local, progress)
            except RexecError as error:
                if not self._rules.build or suite(reference) is None or error.code not in _BUILD_INSTEAD:
                    raise
                _log.warning("no registry has the image", image=reference.familiar, error=error.message)
                await build(reference, local, progress, self._rules.packages)
        image = await local.image(reference.familiar)
        if image is None:
            raise Broken(f"the image {reference.familiar} was fetched and is not there", code="engine_error")
        if image.size_bytes > self._rules.largest_bytes:
            await local.remove_image(reference.familiar)
            raise self._too_large(reference)
        return image

    async def _pull_somewhere(self, reference: Reference, local: LocalImages, progress: ProgressCallback) -> None:
        if reference.registry == DEFAULT_REGISTRY:
            # What is asked for by digest keeps the name of where it came from, so that a mirror is of no use.
            for mirror in self._rules.mirrors if reference.digest is None else ():
                try:
                    await self._pull_mirrored(mirror, reference, local, progress)
                except (NotFound, Unavailable) as error:
                    _log.warning("a mirror failed", mirror=mirror, image=reference.familiar, error=error.message)
                else:
                    return
        else:
            await self._check_registry(reference)
        await self._pull(reference, str(reference), local, progress)

    async def _pull_mirrored(
        self, mirror: str, reference: Reference, local: LocalImages, progress: ProgressCallback
    ) -> None:
        suffix = str(reference).removeprefix(f"{DEFAULT_REGISTRY}/")
        source = f"{mirror.rstrip('/')}/{suffix}"
        await self._pull(reference, source, local, progress)
        await local.tag(source, reference.familiar)
        await local.remove_image(source)

    async def _pull(self, reference: Reference, source: str, local: LocalImages, progress: ProgressCallback) -> None:
        meter = PullMeter()
        async with aclosing(local.pull(source)) as reports:
            async for report in reports:
                told = meter.add(report)
                if meter.downloaded_size > self._rules.largest_bytes:
                    raise self._too_large(reference)
                if told is not None:
                    progress(told)

    async def _check_registry(self, reference: Reference) -> None:
        """A name may resolve to the inside: the engine would fetch from there on the user's behalf."""
        if registry_exempt(reference, self._rules.private_registries):
            return
        try:
            found = await asyncio.get_running_loop().getaddrinfo(reference.host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unavailable(
                f"the registry {reference.registry} cannot be found: {error.strerror}", code="pull_failed"
            ) from error
        if any(is_internal(str(address[0]).partition("%")[0]) for *_, address in found):
            raise registry_refused(reference)

    def _too_large(self, reference: Reference) -> TooLarge:
        limit = self._rules.largest_bytes >> 20
        return TooLarge(f"the image {reference.familiar} is larger than {limit} MiB", code="image_too_large")


_BUILD_INSTEAD = frozenset({"pull_failed", "image_not_found"})
