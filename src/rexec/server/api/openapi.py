"""OpenAPI 3.1 of the routes, with the one error body that all of them share."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_PROBLEM = {
    "description": "An error: what went wrong, and a code that does not change.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "error": {"type": "string"},
                    "code": {"type": "string"},
                    "request_id": {"type": "string"},
                    "details": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
                            "required": ["field", "message"],
                        },
                    },
                },
                "required": ["error", "code"],
            },
            "example": {
                "error": "container limit reached", "code": "container_limit_reached", "current": 5, "limit": 5,
                "tier": "free", "message": "Upgrade your plan to create more containers",
                "request_id": "8f14e45fceea167a",
            },
        }
    },
}  # fmt: skip


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
        components["responses"] = {"Problem": _PROBLEM}
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for verbs in described["paths"].values():
            for told in verbs.values():
                told["responses"].pop("422", None)
                if told.get("x-scope"):
                    told["security"] = [{"token": []}]
        for unused in ("HTTPValidationError", "ValidationError"):
            components.get("schemas", {}).pop(unused, None)
        app.openapi_schema = described
    return app.openapi_schema
