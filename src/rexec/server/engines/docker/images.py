"""The engine's own images: looked at, pulled, imported, and freed of their VOLUMEs."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import tarfile
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import aiodocker
import structlog

from rexec.errors import NotFound, OutOfSpace, RexecError, Unavailable
from rexec.server.engines.docker.client import Client, tell
from rexec.server.engines.docker.objects import described
from rexec.server.ports.images import LayerProgress
from rexec.server.ports.records import Image
from rexec.server.ports.reference import LOCAL_REGISTRY, parse

_log = structlog.get_logger(__name__)
_IMPORT_TIMEOUT = 600.0
_CHUNK = 1 << 20
_STEPS: dict[str, Literal["waiting", "downloading", "downloaded", "extracting", "done"]] = {
    "Pulling fs layer": "waiting",
    "Waiting": "waiting",
    "Downloading": "downloading",
    "Retrying": "waiting",
    "Verifying Checksum": "downloaded",
    "Download complete": "downloaded",
    "Extracting": "extracting",
    "Pull complete": "done",
    "Already exists": "done",
}
_ABSENT = ("manifest unknown", "not found", "no matching manifest", "does not exist", "name unknown")


class Images:
    """Implements `ports.images.LocalImages`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._freeing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def image(self, ref: str) -> Image | None:
        answer = await self.inspect(ref)
        return None if answer is None else described(ref, answer)

    async def inspect(self, ref: str) -> dict[str, Any] | None:
        try:
            answer: dict[str, Any] = await self._client.json("GET", f"images/{quote(ref, safe='/:@')}/json")
        except NotFound:
            return None
        return answer

    async def pull(self, ref: str) -> AsyncGenerator[LayerProgress, None]:
        reference = parse(ref)
        params = {"fromImage": reference.name, "tag": reference.digest or reference.tag}
        try:
            async with self._client.stream("POST", "images/create", params=params) as response:
                async for line in self._client.lines(response):
                    if "error" in line:
                        raise _pull_error(reference.familiar, str(line["error"]))
                    if report := _layer(line):
                        yield report
        except NotFound as error:
            raise _pull_error(reference.familiar, error.message, absent=True) from error
        except (OutOfSpace, Unavailable):
            raise
        except RexecError as error:
            if error.code == "image_not_found":
                raise
            raise _pull_error(reference.familiar, error.message) from error

    async def import_root(self, archive: Path, ref: str, changes: Sequence[str]) -> None:
        params = {"fromSrc": "-", "repo": ref, "changes": "\n".join(changes)}
        body = _chunks(archive)
        async with self._client.stream(
            "POST", "images/create", params=params, body=body, timeout=_IMPORT_TIMEOUT
        ) as response:
            await self._finish(response)

    async def tag(self, source: str, target: str) -> None:
        repository, _, tag = target.rpartition(":")
        await self._client.json(
            "POST", f"images/{quote(source, safe='/:@')}/tag", params={"repo": repository, "tag": tag}
        )

    async def remove_image(self, ref: str) -> None:
        """Missing is success; one that containers use is `Conflict`."""
        answer = await self.inspect(ref)
        if answer is None:
            return
        for name in (ref, _plain_name(answer["Id"])):
            try:
                await self._client.json("DELETE", f"images/{quote(name, safe='/:@')}")
            except NotFound:
                _log.debug("the image was already gone", image=name)

    async def without_volumes(self, ref: str, answer: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        """What to run instead of an image that declares VOLUMEs, which Docker would put outside the disk limit: the
        same layers under a configuration without them. Where an engine cannot do that, the second part names them."""
        volumes = tuple(sorted((answer.get("Config") or {}).get("Volumes") or {}))
        if not volumes:
            return str(answer["Id"]), ()
        name = _plain_name(answer["Id"])
        async with self._freeing[answer["Id"]]:
            if await self.inspect(name) is None:
                try:
                    await self._load(name, answer)
                except RexecError as error:
                    _log.warning("image volumes become memory file systems", image=ref, error=error.message)
                    return str(answer["Id"]), volumes
        return name, ()

    async def _load(self, name: str, answer: Mapping[str, Any]) -> None:
        async with self._client.stream(
            "POST", "images/load", params={"quiet": 1}, body=_layerless(name, answer), timeout=_IMPORT_TIMEOUT
        ) as response:
            await self._finish(response)

    async def _finish(self, response: Any) -> None:
        """The rest of a stream of progress lines, whose errors come in-band."""
        async for line in self._client.lines(response):
            if "error" in line:
                raise aiodocker.DockerError(500, tell(str(line["error"])))


def _plain_name(image_id: str) -> str:
    return f"{LOCAL_REGISTRY}/plain:{image_id.removeprefix('sha256:')[:24]}"


def _layerless(name: str, answer: Mapping[str, Any]) -> bytes:
    """An archive for `images/load` that names layers the engine already holds instead of carrying them."""
    layers = answer["RootFS"]["Layers"]
    config = {key: value for key, value in answer["Config"].items() if key != "Volumes"}
    document = {
        "architecture": answer["Architecture"],
        "os": answer["Os"],
        "created": "1970-01-01T00:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": layers},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "rexec"} for _ in layers],
    }
    if answer.get("Variant"):
        document["variant"] = answer["Variant"]
    body = json.dumps(document).encode()
    config_name = f"{hashlib.sha256(body).hexdigest()}.json"
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": names}]).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member, content in ((config_name, body), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _layer(line: Mapping[str, Any]) -> LayerProgress | None:
    status = str(line.get("status", ""))
    step = _STEPS.get("Retrying" if status.startswith("Retrying") else status)
    layer = line.get("id")
    if step is None or not isinstance(layer, str):
        return None
    detail = line.get("progressDetail") or {}
    return LayerProgress(layer, step, int(detail.get("current") or 0), int(detail.get("total") or 0))


def _pull_error(name: str, message: str, *, absent: bool = False) -> RexecError:
    if absent or any(words in message.lower() for words in _ABSENT):
        return NotFound(f"the image {name} does not exist: {tell(message)}", code="image_not_found")
    if "no space left" in message.lower():
        return OutOfSpace(f"no disk left to pull {name}")
    return Unavailable(f"the image {name} could not be pulled: {tell(message)}", code="pull_failed")


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk
    finally:
        await asyncio.to_thread(file.close)
