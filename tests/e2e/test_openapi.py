"""The OpenAPI is true: whatever fits it gets an answer that it documents, and never a 5xx of ours."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import status_code_conformance

from rexec.server.api.openapi import describe_api
from rexec.server.app import create_api
from support.server import Served

ENDLESS = "/api/events"
"""Its answer has no end to wait for; tests/e2e/test_create.py reads the same events over a socket."""


@pytest.fixture(scope="session")
async def user_token(served: Served) -> str:
    """Of a user who may much, but not touch anybody else."""
    made = await served.api.http.post("/api/admin/users", json={"username": "fuzzer", "tier": "enterprise"})
    assert made.status_code == 201, made.text
    token: str = made.json()["token"]
    return token


schema = schemathesis.openapi.from_dict(describe_api(create_api())).exclude(path=ENDLESS)


@schema.parametrize()
@settings(max_examples=5, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@pytest.mark.timeout(60)
def test_every_operation_answers_as_documented(case: schemathesis.Case, user_token: str, served: Served) -> None:
    case.call_and_validate(
        base_url=served.url,
        headers={"Authorization": f"Bearer {user_token}"},
        checks=[not_a_server_error, status_code_conformance],
        timeout=20,
    )
