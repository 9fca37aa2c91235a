"""OpenAPI 3.1 of the routes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import compile_path


def describe_api(app: FastAPI) -> dict[str, Any]:
    """Made once."""
    if app.openapi_schema is None:
        described = get_openapi(
            title="Rexec",
            version="1",
            openapi_version="3.1.0",
            summary="Sandboxed Linux machines on demand.",
            routes=app.routes,
        )
        components = described.setdefault("components", {})
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for verbs in described["paths"].values():
            for told in verbs.values():
                told["responses"].pop("422", None)
                told["responses"] = dict(sorted(told["responses"].items()))
                if told.get("x-scope"):
                    told["security"] = [{"token": []}]
        for unused in ("HTTPValidationError", "ValidationError"):
            components.get("schemas", {}).pop(unused, None)
        app.openapi_schema = described
    return app.openapi_schema


def methods_of(app: FastAPI, path: str) -> list[str]:
    """What a path of the API can be asked with."""
    described: dict[str, dict[str, Any]] = app.openapi()["paths"]
    return sorted(
        {verb.upper() for at, verbs in described.items() if compile_path(at)[0].match(path) for verb in verbs}
    )
