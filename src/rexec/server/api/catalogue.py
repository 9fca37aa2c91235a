"""The images and roles that are offered."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from starlette.responses import Response

from rexec.answers import containers as told
from rexec.errors import RexecError
from rexec.server.api.problems import Json
from rexec.server.api.routing import P, S, operation
from rexec.server.core.catalogue import CUSTOM, ROLES, Entry
from rexec.server.core.services import Services

router = APIRouter(tags=["catalogue"])


@operation(router, "GET", "/api/images", scope="containers:read", answer=told.Images)
async def images(services: S, principal: P) -> Response:
    """List the images by name, and whether they are here already."""
    entries = services.catalogue.entries(principal)
    shown = await asyncio.gather(*(_image(services, entry) for entry in entries))
    return Json({"images": list(shown), "count": len(shown)})


async def _image(services: Services, entry: Entry) -> dict[str, object]:
    shown: dict[str, object] = {
        "name": entry.name, "aliases": list(entry.aliases), "category": entry.category,
        "description": entry.description,
    }  # fmt: skip
    if entry.category == "linux":
        try:
            image = await services.engine.image(entry.name)
        except RexecError:
            image = None
        shown |= {"present": image is not None, "size": image.size_bytes if image else None}
    return shown if entry.name != CUSTOM else {**shown, "present": None, "size": None}


@operation(router, "GET", "/api/roles", scope="containers:read", answer=told.Roles)
async def roles(services: S, principal: P) -> Response:
    """List the roles."""
    return Json({"roles": [{"name": name} for name in ROLES], "count": len(ROLES)})
