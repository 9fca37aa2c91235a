"""The images and roles that are offered."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from starlette.responses import Response

from rexec.answers import containers as told
from rexec.errors import RexecError
from rexec.server.api.problems import Json
from rexec.server.api.routing import P, S, operation
from rexec.server.core.catalogue import CUSTOM, Entry, runs_here
from rexec.server.core.layers import Layer
from rexec.server.core.recipes import Recipe
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
        "description": entry.description, "available": runs_here(entry.name),
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
    """List the roles, what each installs, and the images on which it is baked already."""
    try:
        layers = await services.layers.all()
        bases = {layer.image: await services.engine.image(layer.image) for layer in layers}
        current = [layer for layer in layers if services.layers.is_current(layer, bases[layer.image])]
    except RexecError:
        current = []
    shown = [_role(recipe, [layer for layer in current if layer.role == name])
             for name, recipe in services.layers.recipes.items()]  # fmt: skip
    return Json({"roles": shown, "count": len(shown)})


def _role(recipe: Recipe, layers: list[Layer]) -> dict[str, object]:
    return {
        "name": recipe.role,
        "description": recipe.description,
        "tools": list(recipe.tools),
        "size_mb": recipe.size_mb,
        "baked": [{"image": layer.image, "size": layer.size_bytes, "missing": dict(layer.missing)} for layer in layers],
    }
