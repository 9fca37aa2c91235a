"""The Docker engine (Podman's compatible socket too)."""

from __future__ import annotations

import asyncio
import json
import platform
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import structlog

from rexec.errors import Broken, Conflict, NotFound, TimedOut, Unavailable, Unsupported
from rexec.server.engines.docker import objects
from rexec.server.engines.docker.client import Client, find_url
from rexec.server.engines.docker.deaths import ran_out_of_memory
from rexec.server.engines.docker.files import Files, HostFiles
from rexec.server.engines.docker.images import Images
from rexec.server.engines.docker.layers import Layers
from rexec.server.engines.docker.logs import LONGEST, last_bytes
from rexec.server.engines.docker.network import Network
from rexec.server.engines.docker.probe import Host, probe, shares_files
from rexec.server.engines.docker.rules import NetworkRules
from rexec.server.engines.docker.volume import VolumeFiles
from rexec.server.engines.docker.watch import watch
from rexec.server.engines.docker.wire import open_wire
from rexec.server.ports.images import ImageSource, ProgressCallback
from rexec.server.ports.layers import Build, LocalLayer
from rexec.server.ports.records import Capacity, Enforced, Feature, Image, Limits, Observation, Phase, Spec

_log = structlog.get_logger(__name__)
_MIB = 1 << 20
_ALWAYS = frozenset({Feature.PAUSE, Feature.STATS, Feature.LIVE_RESIZE, Feature.LOGS, Feature.COMMIT})
_CREATE_TIMEOUT = 120.0
_REMOVE_TIMEOUT = 120.0
_INSPECTIONS = 8
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class DockerEngine:
    """Implements `ports.engine.Engine` and `ports.layers.LayerEngine`.

    Objects are named `rexec-<engine_key>` and found by their labels only.
    """

    name = "docker"

    def __init__(
        self,
        url: str | None,
        installation: str,
        guest_directory: Path,
        guest_binary: Path,
        *,
        network: NetworkRules,
        images: ImageSource,
        shell_bundle: Path | None = None,
    ) -> None:
        self.host = platform.node()
        self.features = _ALWAYS
        self._installation = installation
        self._client = Client(find_url(url))
        self._directory = guest_directory.absolute()
        self._guest_binary = guest_binary
        self._shell_bundle = shell_bundle
        self._files: Files = HostFiles(self._directory, guest_binary, shell_bundle)
        self.shares_files = True
        self._images = Images(self._client)
        self._source = images
        self._layers = Layers(self._client, self._images, installation)
        self._network = Network(self._client, installation, network)
        self._probed: Host | None = None
        self._starts = asyncio.Semaphore(2)
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._client)
            info = await self._client.json("GET", "info")
            self.host = str(info.get("Name") or self.host)
            self._starts = asyncio.Semaphore(2 * max(1, int(info.get("NCPU") or 1)))
            await self._choose_files(info)
            self._probed = await probe(self._client, info, self._installation)
            if self._probed.enforced.disk:
                self.features = _ALWAYS | {Feature.DISK_LIMIT}
            await self._network.ensure(afresh=True)
            self._exit = stack.pop_all()
        _log.info("engine ready", host=self.host, degraded="; ".join(self._degraded()) or "nothing")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._exit.aclose()

    async def ping(self) -> None:
        async with self._client.stream("GET", "_ping", timeout=5) as response:
            await response.read()

    async def capacity(self) -> Capacity:
        """A disk of 0 MiB in total is one whose size cannot be seen from here."""
        info = await self._client.json("GET", "info")
        total, free = await self._disk(str(info.get("DockerRootDir") or ""))
        unseen = () if total else ("the free disk space of the engine's host cannot be seen from here",)
        return Capacity(
            cpus=int(info["NCPU"]),
            memory_mb=int(info["MemTotal"]) // _MIB,
            disk_total_mb=total // _MIB,
            disk_free_mb=free // _MIB,
            architecture=_ARCHITECTURES.get(str(info["Architecture"]), str(info["Architecture"])),
            enforced=self._host().enforced,
            degraded=self._degraded() + unseen,
        )

    async def prepare(self, image: str, progress: ProgressCallback, *, timeout: float) -> Image:
        return await self._source.fetch(image, self._images, progress, timeout=timeout)

    async def start(self, spec: Spec) -> Observation:
        return await self._start(spec, None)

    @asynccontextmanager
    async def building(self, spec: Spec, builder: str) -> AsyncGenerator[None, None]:
        try:
            await self._start(spec, builder)
            yield
        finally:
            await self.delete(spec.engine_key)

    async def _start(self, spec: Spec, builder: str | None) -> Observation:
        path = f"containers/{objects.object_name(spec.engine_key)}"
        async with self._starts:
            await self._network.ensure()
            mounts = await self._files.prepare(spec.engine_key, spec.hostname)
            try:
                await self._client.json("POST", f"{path}/start", timeout=_CREATE_TIMEOUT)
            except NotFound as error:
                if error.message.startswith("network "):
                    await self._network.join(objects.object_name(spec.engine_key))
                else:
                    await self._create(spec, mounts, builder)
                await self._client.json("POST", f"{path}/start", timeout=_CREATE_TIMEOUT)
            except (Conflict, Broken) as error:
                observed = await self.inspect(spec.engine_key)
                if observed.phase is not Phase.PAUSED:
                    raise error
                return await self.resume(spec.engine_key)
            return await self._owned(spec.engine_key)

    async def stop(self, engine_key: str, grace: float) -> Observation:
        try:
            await self._client.json(
                "POST",
                f"containers/{objects.object_name(engine_key)}/stop",
                params={"t": max(0, round(grace))},
                timeout=grace + 60,
            )
        except NotFound:
            return objects.missing(engine_key)
        return await self.inspect(engine_key)

    async def pause(self, engine_key: str) -> Observation:
        return await self._switch(engine_key, "pause", Phase.PAUSED)

    async def resume(self, engine_key: str) -> Observation:
        return await self._switch(engine_key, "unpause", Phase.RUNNING)

    async def delete(self, engine_key: str) -> None:
        path = f"containers/{objects.object_name(engine_key)}"
        try:
            await self._client.json("DELETE", path, params={"force": 1, "v": 1}, timeout=_REMOVE_TIMEOUT)
        except NotFound:
            _log.debug("the object was already gone", engine_key=engine_key)
        except Conflict:
            await self._removed(path)
        await self._files.forget(engine_key)

    async def dial(self, engine_key: str, protocol: asyncio.Protocol) -> None:
        command = [objects.GUEST_BINARY, "dial"]
        await open_wire(self._client, objects.object_name(engine_key), command, protocol)

    async def inspect(self, engine_key: str) -> Observation:
        try:
            return await self._owned(engine_key)
        except NotFound:
            return objects.missing(engine_key)

    async def list(self) -> list[Observation]:
        filters = json.dumps({"label": [f"{objects.INSTALLATION}={self._installation}"]})
        answer = await self._client.json("GET", "containers/json", params={"all": 1, "filters": filters})
        seen = [objects.listed(entry) for entry in answer if objects.ENGINE_KEY in (entry.get("Labels") or {})]
        turns = asyncio.Semaphore(_INSPECTIONS)

        async def completed(observation: Observation) -> Observation:
            if observation.phase is not Phase.EXITED:
                return observation
            async with turns:
                return await self.inspect(observation.engine_key)

        whole = await asyncio.gather(*(completed(observation) for observation in seen))
        return [observation for observation in whole if observation.phase is not Phase.MISSING]

    def watch(self) -> AsyncIterator[Observation | None]:
        async def connected() -> None:
            # A daemon that was away may have lost the network, and a new one writes its own rules.
            await self._network.ensure(afresh=True)

        return watch(self._client, self._installation, self.inspect, connected)

    async def update(self, engine_key: str, limits: Limits) -> None:
        path = f"containers/{objects.object_name(engine_key)}"
        used = await self._memory_in_use(path)
        if used > limits.memory_mb * _MIB:
            raise Conflict(
                f"the container uses {used // _MIB} MiB, more than {limits.memory_mb} MiB", code="memory_in_use"
            )
        try:
            await self._client.json("POST", f"{path}/update", body=objects.resources(limits))
        except Broken as error:
            if "busy" in error.message:
                raise Conflict("the container uses more memory than that", code="memory_in_use") from error
            raise

    async def logs(self, engine_key: str, *, tail: int) -> bytes:
        path = f"containers/{objects.object_name(engine_key)}/logs"
        params = {"stdout": 1, "stderr": 1, "tail": max(0, tail)}
        async with self._client.stream("GET", path, params=params, timeout=60) as response:
            return await last_bytes(response.content.iter_any(), LONGEST)

    async def commit(self, engine_key: str, ref: str, labels: Mapping[str, str]) -> Image:
        return await self._layers.commit(engine_key, ref, labels)

    async def builds(self) -> Sequence[Build]:
        return await self._layers.builds()

    async def layers(self, *, own: bool) -> Sequence[LocalLayer]:
        return await self._layers.layers(own=own)

    async def image(self, ref: str) -> Image | None:
        return await self._images.image(ref)

    async def remove_image(self, ref: str) -> None:
        await self._images.remove_image(ref)

    async def remove_network(self) -> None:
        """Take this installation's network and firewall rules away, for good; its containers must be gone."""
        await self._network.remove()

    async def _create(self, spec: Spec, mounts: tuple[objects.Mount, ...], builder: str | None) -> None:
        answer = await self._images.inspect(spec.image)
        if answer is None:
            raise NotFound(f"the image {spec.image} is not here", code="image_not_found")
        image, volumes = await self._images.without_volumes(spec.image, answer)
        host = self._host()
        blueprint = objects.Blueprint(
            spec=spec,
            installation=self._installation,
            image=image,
            network=self._network.name,
            enforced=host.enforced,
            mounts=mounts,
            size_bytes=_layer_size(host, spec.limits, int(answer.get("Size") or 0)),
            volumes=volumes,
            dns=self._network.rules.resolvers,
            local_logs=host.local_logs,
            builder=builder,
        )
        await self._create_or_adopt(spec, objects.creation(blueprint))

    async def _choose_files(self, info: dict[str, Any]) -> None:
        """By what this engine sees, not by its address."""
        self.shares_files = await shares_files(self._client, info, self._directory, self._installation)
        if not self.shares_files:
            machine = _ARCHITECTURES.get(str(info.get("Architecture")), str(info.get("Architecture")))
            binary = self._guest_binary.with_name(f"rexec-guest-{machine}")
            if not binary.is_file():
                raise Unsupported(f"there is no guest for the engine's machine: {machine}")
            own = binary.name == self._guest_binary.name
            bundle = self._shell_bundle if own else None
            self._files = VolumeFiles(self._client, self._installation, binary, bundle)
        await self._files.install()

    async def _create_or_adopt(self, spec: Spec, body: dict[str, Any]) -> None:
        """Docker takes a name before the object can be seen: a create that comes second waits until the first, which
        may be that of a server that crashed, has ended either way."""
        params = {"name": objects.object_name(spec.engine_key)}
        wait = 0.02
        async with asyncio.timeout(_CREATE_TIMEOUT):
            while True:
                try:
                    await self._client.json(
                        "POST", "containers/create", params=params, body=body, timeout=_CREATE_TIMEOUT
                    )
                except Conflict:
                    if (await self.inspect(spec.engine_key)).phase is not Phase.MISSING:
                        return
                    await asyncio.sleep(wait)
                    wait = min(2 * wait, 1.0)
                except NotFound as error:
                    raise NotFound(f"the image {spec.image} is not here", code="image_not_found") from error
                else:
                    return

    async def _owned(self, engine_key: str) -> Observation:
        """An inspection; `Broken` for an object of our name that is not ours."""
        answer = await self._client.json("GET", f"containers/{objects.object_name(engine_key)}/json")
        observed = objects.inspected(answer)
        if observed.labels.get(objects.INSTALLATION) != self._installation or observed.engine_key != engine_key:
            raise Broken(f"{objects.object_name(engine_key)} belongs to somebody else", code="engine_error")
        if observed.phase is Phase.EXITED and observed.out_of_memory:
            observed = replace(observed, out_of_memory=await ran_out_of_memory(self._client, observed))
        return observed

    async def _switch(self, engine_key: str, verb: str, wanted: Phase) -> Observation:
        try:
            await self._client.json("POST", f"containers/{objects.object_name(engine_key)}/{verb}")
        except NotFound:
            return objects.missing(engine_key)
        except (Conflict, Broken) as error:
            observed = await self.inspect(engine_key)
            if observed.phase is wanted:
                return observed
            if "not implemented" in error.message or "not supported" in error.message:
                raise Unsupported(f"this engine cannot {verb}: {error.message}") from error
            raise Conflict(error.message, code="wrong_state") from error
        return await self.inspect(engine_key)

    async def _removed(self, path: str) -> None:
        """Wait for a removal that is already under way."""
        try:
            await self._client.json("POST", f"{path}/wait", params={"condition": "removed"}, timeout=_REMOVE_TIMEOUT)
        except NotFound:
            _log.debug("the object was removed meanwhile", path=path)
        except Unavailable as error:
            raise TimedOut("the engine has not removed the container yet") from error

    async def _memory_in_use(self, path: str) -> int:
        answer: dict[str, Any] = await self._client.json(
            "GET", f"{path}/stats", params={"stream": 0, "one-shot": 1}, timeout=10
        )
        memory = answer.get("memory_stats") or {}
        details = memory.get("stats") or {}
        cache = details.get("total_inactive_file", details.get("inactive_file", 0))
        return max(0, int(memory.get("usage") or 0) - int(cache))

    async def _disk(self, root: str) -> tuple[int, int]:
        if not self.shares_files or not root:
            return 0, 0
        try:
            usage = await asyncio.to_thread(shutil.disk_usage, root)
        except OSError:
            return 0, 0
        return usage.total, usage.free

    def _host(self) -> Host:
        if self._probed is None:
            return Host(Enforced(), counts_image=False, driver="", degraded=())
        return self._probed

    def _degraded(self) -> tuple[str, ...]:
        missing = () if self._shell_bundle else ("there is no shell bundle: enhanced shells are the image's own",)
        return self._host().degraded + self._network.degraded + missing


def _layer_size(host: Host, limits: Limits, image_bytes: int) -> int | None:
    """The limit to ask the storage driver for. Where it counts the image's files too, it does so in whole blocks and
    with their metadata, hence the eighth on top."""
    if not host.enforced.disk:
        return None
    counted = image_bytes + image_bytes // 8 if host.counts_image else 0
    return limits.disk_mb * _MIB + counted
