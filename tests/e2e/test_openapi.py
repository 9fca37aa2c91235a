"""The OpenAPI is true: whatever fits it gets an answer that it documents, of the shape that it documents, and never a
5xx of ours; on a container that runs, too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from pydantic import TypeAdapter
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from rexec.answers.answer import Answer
from rexec.answers.refusals import CODES
from rexec.models import Body
from rexec.server.api.openapi import describe_api
from rexec.server.app import create_api
from support.client import Api, small
from support.server import Served

ENDLESS = "/api/events", "/api/containers/{reference}/stats/stream", "/api/containers/{reference}/files/watch"
"""Their answers have no end to wait for."""
DELETING = "/api/containers/{reference}"


@schemathesis.serializer("application/x-tar")
def _as_it_is(context: schemathesis.SerializationContext, value: Any) -> bytes:
    return bytes(value) if isinstance(value, bytes | bytearray) else str(value).encode()


@pytest.fixture(scope="session")
async def fuzzer(served: Served) -> AsyncIterator[Api]:
    """A user who may much, but not touch anybody else."""
    made = await served.api.http.post("/api/admin/users", json={"username": "fuzzer", "tier": "enterprise"})
    assert made.status_code == 201, made.text
    opened = served.as_token(made.json()["token"])
    yield opened
    await opened.http.aclose()


@pytest.fixture(scope="session")
async def running(fuzzer: Api) -> str:
    return str((await fuzzer.create(name="fuzzed"))["id"])


described = describe_api(create_api())
schema = schemathesis.openapi.from_dict(described)
for endless in ENDLESS:
    schema = schema.exclude(path=endless)
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
BOUNDED = settings(
    max_examples=4, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@schema.exclude(path_regex="reference").parametrize()
@BOUNDED
def test_every_operation_answers_as_documented(case: schemathesis.Case, fuzzer: Api, served: Served) -> None:
    case.call_and_validate(base_url=served.url, headers=fuzzer.headers, checks=CHECKS, timeout=60)


@schema.include(path_regex="reference").parametrize()
@BOUNDED
def test_on_a_running_container_too(case: schemathesis.Case, fuzzer: Api, served: Served, running: str) -> None:
    if not (case.path == DELETING and case.method == "DELETE"):
        case.path_parameters["reference"] = running
    case.call_and_validate(base_url=served.url, headers=fuzzer.headers, checks=CHECKS, timeout=60)


def _answers() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (f"{verb} {path}", status, answer)
        for path, verbs in described["paths"].items()
        for verb, told in verbs.items()
        for status, answer in told["responses"].items()
    ]


def test_every_answer_has_a_model_and_an_example() -> None:
    for where, status, answer in _answers():
        for media, told in answer["content"].items():
            examples = [one["value"] for one in told["examples"].values()] if "examples" in told else [told["example"]]
            assert examples, (where, status)
            assert told["schema"], (where, status, media)


def _models(of: type[Answer]) -> list[type[Answer]]:
    return [of, *(found for child in of.__subclasses__() for found in _models(child))]


def test_every_example_fits_its_model() -> None:
    with_examples = [model for model in _models(Answer) if model.__dict__.get("example") is not None]
    assert len(with_examples) > 30
    for model in with_examples:
        TypeAdapter(model).validate_python(model.example)
    for code, refusal in CODES.items():
        assert refusal.body(code)["error"], code


async def test_the_lists_of_a_real_container_fit_their_models(fuzzer: Api, running: str) -> None:
    """The bare array has the same items as the list, and another page where there is more."""
    made = await fuzzer.http.post("/api/containers", json=small(name="second"))
    assert made.status_code == 202, made.text
    first = await fuzzer.http.get("/api/containers", params={"limit": 1})
    assert [item["name"] for item in first.json()["containers"]] == ["second"]
    bare = await fuzzer.http.get(
        "/api/containers", params={"limit": 1, "cursor": first.json()["next_cursor"]},
        headers={"Accept": 'application/json; profile="array"'},
    )  # fmt: skip
    assert len(bare.json()) == 1
    await fuzzer.delete(made.json()["id"])


def test_every_body_has_an_example_that_fits_it() -> None:
    bodies = [model for model in _bodies(Body) if model.model_config.get("json_schema_extra")]
    assert len(bodies) > 12
    for model in bodies:
        extra = model.model_config["json_schema_extra"]
        assert isinstance(extra, dict)
        for example in extra["examples"]:  # type: ignore[union-attr]
            model.model_validate(example)


def _bodies(of: type[Body]) -> list[type[Body]]:
    return [found for child in of.__subclasses__() for found in [child, *_bodies(child)]]
