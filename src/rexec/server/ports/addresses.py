"""Which network addresses belong to nobody in particular on the Internet.

One list for two rules: where a container may not go, and which registries may not be pulled from. The ranges set aside
for documentation are left out on purpose: they lead nowhere on the Internet, and closed sites use them for real hosts.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

INTERNAL_IPV4 = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
INTERNAL_IPV6 = (
    "::/96",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
)
_INTERNAL: tuple[Network, ...] = tuple(ip_network(text) for text in INTERNAL_IPV4 + INTERNAL_IPV6)


def is_internal(address: str | Address) -> bool:
    """Whether `address` is loopback, link-local, private, multicast or a way round them (mapped, NAT64, 6to4)."""
    parsed = ip_address(address)
    return any(parsed in network for network in _INTERNAL if network.version == parsed.version)
