"""Puts the rules of `rules.py` in force on this host, with nft where there is one, else with iptables."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import structlog

from rexec.server.engines.docker.rules import (
    NetworkRules,
    iptables_chains,
    iptables_script,
    nft_bridge_script,
    nft_script,
)

_log = structlog.get_logger(__name__)
_COMMAND_TIMEOUT = 15.0
_RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
_BRIDGED_IPV4 = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_SEARCH = "/usr/sbin:/sbin:/usr/bin:/bin"

NOT_CLOSED = "containers can reach this host and internal networks: {why}"
NEIGHBOURS = "containers on this host can reach each other: neither nft bridge tables nor br_netfilter are here"


class Firewall:
    """The rules of one bridge. `apply` may be called again at any time; it replaces what is there in one step."""

    def __init__(self, name: str, bridge: str, rules: NetworkRules) -> None:
        self._name = name
        self._bridge = bridge
        self._rules = rules
        self._iptables = False

    async def apply(self) -> tuple[str, ...]:
        """What could not be enforced, as sentences; nothing means that every rule is in force."""
        if os.geteuid() != 0:
            return (NOT_CLOSED.format(why="the server does not run as root"),)
        resolvers = self._rules.resolvers or await asyncio.to_thread(host_resolvers)
        nft = shutil.which("nft", path=_SEARCH)
        if nft:
            failure = await _run([nft, "-f", "-"], nft_script(self._name, self._bridge, self._rules, resolvers))
            if failure is None:
                return await self._close_bridge(nft)
            _log.warning("nft refused the rules", error=failure)
        return await self._apply_iptables(resolvers)

    async def in_force(self) -> bool:
        """Whether the rules are still there: another program may have flushed them."""
        if self._iptables:
            into, through = iptables_chains(self._name)
            return await self._jumps("iptables", into) and await self._jumps("iptables", through)
        nft = shutil.which("nft", path=_SEARCH)
        if nft is None:
            return False
        return await _run([nft, "list", "chain", "inet", self._name, "forward"]) is None

    async def remove(self) -> None:
        """Take all of our rules away, however they were made."""
        nft = shutil.which("nft", path=_SEARCH)
        if nft:
            for family in ("inet", "bridge"):
                await _run([nft, "delete", "table", family, self._name])
        for command in ("iptables", "ip6tables"):
            for hook, chain in self._hooks():
                if await _run([command, "-w", "-D", hook, "-j", chain]) is None:
                    await _run([command, "-w", "-F", chain])
                    await _run([command, "-w", "-X", chain])

    async def _close_bridge(self, nft: str) -> tuple[str, ...]:
        if await _run([nft, "-f", "-"], nft_bridge_script(self._name, self._bridge)) is None:
            return ()
        # Without the bridge family, frames between two ports still meet the inet rules where br_netfilter is.
        return () if await asyncio.to_thread(_bridged_frames_are_filtered) else (NEIGHBOURS,)

    async def _apply_iptables(self, resolvers: tuple[str, ...]) -> tuple[str, ...]:
        for version, command in ((4, "iptables"), (6, "ip6tables")):
            if shutil.which(command, path=_SEARCH) is None:
                return (NOT_CLOSED.format(why="neither nft nor iptables is installed"),)
            script = iptables_script(self._name, self._bridge, self._rules, resolvers, version=version)
            failure = await _run([f"{command}-restore", "-w", "--noflush"], script)
            for hook, chain in self._hooks():
                if failure is None and not await self._jumps(command, chain):
                    failure = await _run([command, "-w", "-I", hook, "-j", chain])
            if failure is not None:
                return (NOT_CLOSED.format(why=failure),)
        self._iptables = True
        return () if await asyncio.to_thread(_bridged_frames_are_filtered) else (NEIGHBOURS,)

    async def _jumps(self, command: str, chain: str) -> bool:
        hook = next(hook for hook, name in self._hooks() if name == chain)
        return await _run([command, "-w", "-C", hook, "-j", chain]) is None

    def _hooks(self) -> tuple[tuple[str, str], tuple[str, str]]:
        into, through = iptables_chains(self._name)
        return ("INPUT", into), ("FORWARD", through)


def host_resolvers() -> tuple[str, ...]:
    """The name servers that Docker hands on: the host's, without those on its own loopback."""
    found: list[str] = []
    for path in _RESOLVERS:
        if not path.is_file():
            continue
        for line in path.read_text(errors="replace").splitlines():
            words = line.split()
            if len(words) >= 2 and words[0] == "nameserver" and "%" not in words[1] and words[1] not in found:
                found.append(words[1])
    return tuple(address for address in found if not address.startswith("127.") and address != "::1")


def _bridged_frames_are_filtered() -> bool:
    try:
        return _BRIDGED_IPV4.read_text().strip() == "1"
    except OSError:
        return False


async def _run(command: list[str], text: str | None = None) -> str | None:
    """None when it succeeded, else what it said."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE if text is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": _SEARCH, "LC_ALL": "C"},
        )
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    try:
        async with asyncio.timeout(_COMMAND_TIMEOUT):
            _, said = await process.communicate(text.encode() if text is not None else None)
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"{command[0]} did not end within {_COMMAND_TIMEOUT:.0f} s"
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    return None if process.returncode == 0 else " ".join(said.decode(errors="replace").split())[:300]
