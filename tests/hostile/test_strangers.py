"""Strangers at the door: a page whose own name resolves to the server's address."""

from __future__ import annotations

import pytest
import websockets

from support.client import Api


@pytest.mark.parametrize("path", ["/", "/health", "/api/containers", "/api/auth/session"])
async def test_dns_rebinding_is_refused(api: Api, path: str) -> None:
    own = await api.http.get(path, headers={"Host": api.url.removeprefix("http://")})
    refused = await api.http.get(path, headers={"Host": "evil.example:8080", "Origin": "http://evil.example:8080"})
    assert own.status_code != 403, own.text
    assert refused.status_code == 403
    assert refused.json()["code"] == "host_refused"


async def test_dns_rebinding_is_refused_to_sockets(api: Api) -> None:
    port = int(api.url.rpartition(":")[2])
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with websockets.connect(
            f"ws://evil.example:{port}/ws/events", host="127.0.0.1", additional_headers=api.headers, compression=None
        ):
            pass
    assert refused.value.response.status_code == 403
