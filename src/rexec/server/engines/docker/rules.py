"""The firewall of one installation's bridge, as text for nft or iptables-restore. Pure functions.

From a container there is no way to the host itself, to its neighbours and to internal addresses; names are asked of the
host's own resolvers, port 53 only. Nothing may open a connection to a container from another network either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from rexec.errors import Invalid
from rexec.server.ports.addresses import INTERNAL_IPV4, INTERNAL_IPV6

_BEFORE_DOCKER = -10
_BRIDGE_PRIORITY = -200
_REFUSE = "reject with icmpx type admin-prohibited"
"""An answer, since a program inside should fail at once and not after its own time-out."""


@dataclass(frozen=True, slots=True)
class NetworkRules:
    """What an installation's containers may reach besides the Internet."""

    allow: tuple[str, ...] = ()
    """Holes: addresses or networks of the ranges that are otherwise closed, the host's own among them."""
    resolvers: tuple[str, ...] = ()
    """Name servers for the containers; none means those of the host."""
    subnet: str | None = None
    """The containers' own network; none means that Docker picks one."""
    mtu: int | None = None

    def __post_init__(self) -> None:
        try:
            for text in self.allow:
                ip_network(text, strict=False)
            for text in self.resolvers:
                ip_address(text)
            if self.subnet:
                ip_network(self.subnet)
        except ValueError as error:
            raise Invalid(f"network rules: {error}", code="invalid_settings") from error


def nft_script(name: str, bridge: str, rules: NetworkRules, resolvers: Iterable[str]) -> str:
    """One transaction that puts our two tables in place of whatever they were."""
    allow4, allow6 = _split(rules.allow)
    dns4, dns6 = _split(resolvers)
    holes = [
        "ct state established,related accept",
        *(f"ip daddr {address} meta l4proto {{ tcp, udp }} th dport 53 accept" for address in dns4),
        *(f"ip6 daddr {address} meta l4proto {{ tcp, udp }} th dport 53 accept" for address in dns6),
        *(f"ip daddr {network} accept" for network in allow4),
        *(f"ip6 daddr {network} accept" for network in allow6),
    ]
    forward = [
        f'oifname "{bridge}" ct state established,related accept',
        f'oifname "{bridge}" drop',
        f'iifname != "{bridge}" accept',
        *holes,
        f"ip daddr {{ {', '.join(INTERNAL_IPV4)} }} {_REFUSE}",
        f"ip6 daddr {{ {', '.join(INTERNAL_IPV6)} }} {_REFUSE}",
    ]
    entering = [f'iifname != "{bridge}" accept', *holes, _REFUSE]
    return "\n".join(
        [
            *_replaced("inet", name),
            f"table inet {name} {{",
            *_chain("input", "input", _BEFORE_DOCKER, entering),
            *_chain("forward", "forward", _BEFORE_DOCKER, forward),
            "}",
            "",
        ]
    )


def nft_bridge_script(name: str, bridge: str) -> str:
    """Frames between two ports of our bridge: none at all, ARP included. Apart, since a kernel may lack the family."""
    dropped = [f'meta ibrname "{bridge}" drop', f'meta obrname "{bridge}" drop']
    return "\n".join(
        [
            *_replaced("bridge", name),
            f"table bridge {name} {{",
            *_chain("forward", "forward", _BRIDGE_PRIORITY, dropped),
            "}",
            "",
        ]
    )


def iptables_script(name: str, bridge: str, rules: NetworkRules, resolvers: Iterable[str], *, version: int) -> str:
    """Our two chains for `iptables-restore --noflush`, one transaction. The jumps into them are made apart."""
    allow = _split(rules.allow)[version == 6]
    dns = _split(resolvers)[version == 6]
    internal = INTERNAL_IPV4 if version == 4 else INTERNAL_IPV6
    holes = [
        "-m conntrack --ctstate ESTABLISHED,RELATED -j RETURN",
        *(f"-d {address} -p {protocol} --dport 53 -j RETURN" for address in dns for protocol in ("udp", "tcp")),
        *(f"-d {network} -j RETURN" for network in allow),
    ]
    into, through = iptables_chains(name)
    lines = ["*filter", f":{into} - [0:0]", f":{through} - [0:0]", f"-F {into}", f"-F {through}"]
    lines += [f"-A {into} {rule}" for rule in (f"! -i {bridge} -j RETURN", *holes, "-j REJECT")]
    lines += [
        f"-A {through} {rule}"
        for rule in (
            f"-o {bridge} -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN",
            f"-o {bridge} -j DROP",
            f"! -i {bridge} -j RETURN",
            *holes,
            *(f"-d {network} -j REJECT" for network in internal),
        )
    ]
    return "\n".join([*lines, "COMMIT", ""])


def iptables_chains(name: str) -> tuple[str, str]:
    return f"{name}-in", f"{name}-fwd"


def _replaced(family: str, name: str) -> tuple[str, str]:
    return f"table {family} {name} {{}}", f"delete table {family} {name}"


def _chain(name: str, hook: str, priority: int, rules: Iterable[str]) -> list[str]:
    head = f"  chain {name} {{ type filter hook {hook} priority {priority}; policy accept;"
    return [head, *(f"    {rule}" for rule in rules), "  }"]


def _split(texts: Iterable[str]) -> tuple[list[str], list[str]]:
    networks = [ip_network(text, strict=False) for text in texts]
    return [str(n) for n in networks if n.version == 4], [str(n) for n in networks if n.version == 6]
