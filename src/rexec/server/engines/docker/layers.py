"""Builds of layers, and the layers: found by their labels only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from rexec.errors import Broken
from rexec.server.engines.docker import objects
from rexec.server.engines.docker.client import Client
from rexec.server.engines.docker.images import Images
from rexec.server.ports.layers import ROLE_LABEL, Build, LocalLayer
from rexec.server.ports.records import Image

_COMMIT_TIMEOUT = 900.0
_NOT_THE_IMAGES = (objects.BUILD, objects.BUILDER, objects.ENGINE_KEY, objects.ENFORCED)


class Layers:
    """What an installation's builds leave in an engine."""

    def __init__(self, client: Client, images: Images, installation: str) -> None:
        self._client = client
        self._images = images
        self._installation = installation

    async def commit(self, engine_key: str, ref: str, labels: Mapping[str, str]) -> Image:
        """Docker hands a container's labels down to its image, and an image's to its containers."""
        repository, _, tag = ref.rpartition(":")
        params = {"container": objects.object_name(engine_key), "repo": repository, "tag": tag, "pause": 1}
        body = {"Labels": {**dict.fromkeys(_NOT_THE_IMAGES, ""), objects.INSTALLATION: self._installation, **labels}}
        await self._client.json("POST", "commit", params=params, body=body, timeout=_COMMIT_TIMEOUT)
        image = await self._images.image(ref)
        if image is None:
            raise Broken(f"the engine lost the image {ref}", code="engine_error")
        return image

    async def builds(self) -> list[Build]:
        params = {"all": 1, "filters": self._labelled(objects.BUILD)}
        answer = await self._client.json("GET", "containers/json", params=params)
        labelled = [(entry, entry.get("Labels") or {}) for entry in answer]
        return [
            Build(labels[objects.BUILD], labels.get(objects.BUILDER, ""), _moment(entry["Created"]))
            for entry, labels in labelled
            if labels.get(objects.BUILD) and not labels.get(objects.ENGINE_KEY)
        ]

    async def layers(self, *, own: bool) -> list[LocalLayer]:
        filters = self._labelled(ROLE_LABEL) if own else json.dumps({"label": [ROLE_LABEL]})
        answer = await self._client.json("GET", "images/json", params={"filters": filters})
        return [
            LocalLayer(ref, entry["Id"], int(entry.get("Size") or 0), _moment(entry["Created"]), entry["Labels"])
            for entry in answer
            for ref in entry.get("RepoTags") or []
            if ref.startswith(f"{objects.LAYERS}:")
        ]

    def _labelled(self, label: str) -> str:
        return json.dumps({"label": [f"{objects.INSTALLATION}={self._installation}", label]})


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
