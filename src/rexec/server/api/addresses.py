"""Who a request comes from, as far as it can be believed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from starlette.datastructures import Headers

_IPV6_HOST_BITS = 64


def client(
    scope: Mapping[str, Any], headers: Headers, trusted: Collection[IPv4Network | IPv6Network]
) -> IPv4Address | IPv6Address | None:
    """The peer; or, when that is a proxy the settings name, the last hop in `X-Forwarded-For` that is none. What a
    client wrote there itself stands before what the proxies added, and is never reached. None: a Unix socket."""
    address = _parsed(str((scope.get("client") or ("", 0))[0]))
    hops = [hop for line in headers.getlist("x-forwarded-for") for hop in line.split(",")]
    while hops and address is not None and any(address in network for network in trusted):
        nearer = _parsed(hops.pop())
        if nearer is None:
            break
        address = nearer
    return address


def counted(address: IPv4Address | IPv6Address | None) -> str:
    """What shares one limit: an IPv4 address, or the /64 that one IPv6 customer has all of."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address) >> _IPV6_HOST_BITS << _IPV6_HOST_BITS, 128 - _IPV6_HOST_BITS)))
    return str(address)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """`192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`."""
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    with suppress(ValueError):
        address = ip_address(bare)
        return getattr(address, "ipv4_mapped", None) or address
    return None
