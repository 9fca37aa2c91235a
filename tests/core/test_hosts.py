"""By which names a server may be called."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from rexec.errors import Forbidden
from rexec.server.api.hosts import Hosts
from rexec.server.settings import Settings


def refused(settings: Settings, host: str) -> bool:
    try:
        Hosts(settings).check(Headers({"host": host}))
    except Forbidden as error:
        return error.code == "host_refused"
    return False


LOOPBACK = Settings(bind="127.0.0.1:8080", public_url="https://Rexec.example/", allowed_hosts=("box.lan",))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8080", "[::1]:8080", "localhost", "LocalHost.:8080", "192.0.2.7", "rexec.example", "BOX.lan:1", ""],
)
def test_its_own_names_and_any_address_are_taken(host: str) -> None:
    assert not refused(LOOPBACK, host)


@pytest.mark.parametrize(
    "host", ["evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "[evil", "a b", "evil@x:1"]
)
def test_a_strangers_name_for_a_loopback_address_is_not(host: str) -> None:
    assert refused(LOOPBACK, host)
    assert refused(Settings(bind="[::1]:8080"), host)
    assert refused(Settings(bind="localhost:8080"), host)


def test_elsewhere_names_are_checked_once_some_are_named() -> None:
    assert not refused(Settings(bind="0.0.0.0:8080"), "anything.example")
    assert refused(Settings(bind="0.0.0.0:8080", allowed_hosts=("box.lan",)), "anything.example")
