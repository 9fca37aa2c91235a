"""OpenAPI 3.1 of the routes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter
from starlette.routing import compile_path

from rexec.answers.answer import Raw
from rexec.answers.refusals import Problem
from rexec.server.api.routing import ANSWERS


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
        _add_schemas(described)
        for unused in ("HTTPValidationError", "ValidationError"):
            components.get("schemas", {}).pop(unused, None)
        app.openapi_schema = described
    return app.openapi_schema


def methods_of(path: str) -> list[str]:
    """What a path of the API can be asked with."""
    matching = (verbs for at, verbs in ANSWERS.items() if compile_path(at)[0].match(path))
    return sorted({verb for verbs in matching for verb in verbs})


def _add_schemas(described: dict[str, Any]) -> None:
    """Of all answers: those of `ANSWERS`, and `Problem` for every refusal."""
    told: list[Any] = [shape for verbs in ANSWERS.values() for answers in verbs.values() for shape in answers.values()]
    shapes: dict[Any, TypeAdapter[Any]] = {
        shape: TypeAdapter(shape) for shape in (*told, Problem) if not isinstance(shape, Raw)
    }
    schemas, definitions = TypeAdapter.json_schemas(
        [(shape, "serialization", adapter) for shape, adapter in shapes.items()],
        ref_template="#/components/schemas/{model}",
    )
    own = described["components"].setdefault("schemas", {})
    for name, schema in definitions["$defs"].items():
        if own.setdefault(name, schema) != schema:
            raise ValueError(f"two models are called {name}")
    for path, verbs in described["paths"].items():
        for verb, operation in verbs.items():
            for status, answer in operation["responses"].items():
                shape = ANSWERS[path][verb.upper()].get(int(status), Problem)
                if not isinstance(shape, Raw):
                    answer["content"]["application/json"]["schema"] = schemas[shape, "serialization"]
