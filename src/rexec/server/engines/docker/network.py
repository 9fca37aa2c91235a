"""The installation's own bridge network and its firewall."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import structlog

from rexec.errors import Broken, Conflict, NotFound, RexecError, Unavailable
from rexec.server.engines.docker.client import Client
from rexec.server.engines.docker.firewall import NOT_CLOSED, Firewall
from rexec.server.engines.docker.objects import INSTALLATION
from rexec.server.engines.docker.rules import NetworkRules

_log = structlog.get_logger(__name__)
_VERIFIED_FOR = 5.0
_TURNS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_SHORT = re.compile(r"[^A-Za-z0-9]")


class Network:
    """One bridge per installation, without traffic between its containers. `ensure` is cheap and may be called before
    every start; `degraded` says what could not be enforced."""

    def __init__(self, client: Client, installation: str, rules: NetworkRules) -> None:
        short = _SHORT.sub("", installation)[:8].lower()
        self.name = f"rexec-{short}"
        self.bridge = f"rx-{short}"
        self.degraded: tuple[str, ...] = ()
        self.rules = rules
        self._client = client
        self._installation = installation
        self._firewall = Firewall(f"rexec_{short}", self.bridge, rules)
        self._lock = asyncio.Lock()
        self._verified_at = float("-inf")

    async def ensure(self, *, afresh: bool = False) -> None:
        """The network exists and its rules are in force, or `degraded` says why not."""
        async with self._lock:
            if not afresh and time.monotonic() - self._verified_at < _VERIFIED_FOR:
                return
            await self._ensure_network()
            if afresh or self.degraded or not await self._firewall.in_force():
                await self._apply()
            self._verified_at = time.monotonic()

    async def join(self, object_name: str) -> None:
        """Put a stopped container that was made for a network since removed into this one."""
        await self.ensure(afresh=True)
        await self._client.json("POST", f"networks/{self.name}/connect", body={"Container": object_name})

    async def remove(self) -> None:
        """Take network and rules away; containers must be gone."""
        try:
            await self._client.json("DELETE", f"networks/{self.name}")
        except NotFound:
            _log.debug("the network was already gone", network=self.name)
        await self._firewall.remove()

    async def _apply(self) -> None:
        degraded = await self._enforce()
        if degraded != self.degraded:
            _log.warning("network rules", degraded=degraded or "none")
        self.degraded = degraded

    async def _enforce(self) -> tuple[str, ...]:
        if not self._client.is_local:
            return (NOT_CLOSED.format(why="the engine is on another host, whose firewall is out of reach"),)
        if not await asyncio.to_thread(Path(f"/sys/class/net/{self.bridge}").exists):
            return (NOT_CLOSED.format(why=f"the bridge {self.bridge} is not on this host"),)
        return await self._firewall.apply()

    async def _ensure_network(self) -> None:
        if not await self._there():
            await self._create()
            self._verified_at = float("-inf")

    async def _there(self) -> bool:
        try:
            answer = await self._client.json("GET", f"networks/{self.name}")
        except NotFound:
            return False
        if (answer.get("Labels") or {}).get(INSTALLATION) != self._installation:
            raise Broken(f"the network {self.name} belongs to somebody else", code="engine_error")
        return True

    async def _create(self) -> None:
        """Docker may refuse for what it has not got, and for another server that makes the same network now: a conflict
        of names, of bridges, or of addresses, by how far the other is."""
        isolated = True
        for wait in _TURNS:
            try:
                await self._client.json("POST", "networks/create", body=self._creation(isolated=isolated))
                return
            except Unavailable:
                raise
            except RexecError as error:
                refused = error
            if await self._there():
                _log.debug("another server made the network first", network=self.name)
                return
            if isolated and not isinstance(refused, Conflict):
                # Docker refuses `enable_icc=false` where br_netfilter is missing; our own rules do the same work.
                _log.warning("Docker cannot separate the network's containers", error=refused.message)
                isolated = False
            else:
                await asyncio.sleep(wait)
        raise refused

    def _creation(self, *, isolated: bool) -> dict[str, object]:
        options = {"com.docker.network.bridge.name": self.bridge}
        if isolated:
            options["com.docker.network.bridge.enable_icc"] = "false"
        if self.rules.mtu:
            options["com.docker.network.driver.mtu"] = str(self.rules.mtu)
        body: dict[str, object] = {
            "Name": self.name,
            "CheckDuplicate": True,
            "Driver": "bridge",
            "EnableIPv6": False,
            "Options": options,
            "Labels": {INSTALLATION: self._installation},
        }
        if self.rules.subnet:
            body["IPAM"] = {"Config": [{"Subnet": self.rules.subnet}]}
        return body
