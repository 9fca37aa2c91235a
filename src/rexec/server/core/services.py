"""What the API works with, put together by the composition root."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from rexec.server.core.access import Access
from rexec.server.core.accounts import Accounts
from rexec.server.core.catalogue import Catalogue
from rexec.server.core.clock import Clock
from rexec.server.core.containers import Containers
from rexec.server.core.events import Events
from rexec.server.core.host import Host
from rexec.server.core.idempotency import Idempotency
from rexec.server.core.inside import Inside
from rexec.server.core.layers import Layers
from rexec.server.core.opensockets import OpenSockets
from rexec.server.core.profiles import Profiles
from rexec.server.core.ratelimit import RateLimits
from rexec.server.core.tickets import Tickets
from rexec.server.core.tiers import ChangedTiers, Tiers
from rexec.server.core.users import Users
from rexec.server.ports.bus import Bus
from rexec.server.ports.engine import Engine
from rexec.server.ports.store import Database
from rexec.server.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    clock: Clock
    database: Database
    bus: Bus
    engine: Engine
    host: Host
    tiers: Tiers
    catalogue: Catalogue
    layers: Layers
    containers: Containers
    events: Events
    inside: Inside
    access: Access
    accounts: Accounts
    users: Users
    profiles: Profiles
    changed_tiers: ChangedTiers
    sockets: OpenSockets
    tickets: Tickets
    rate_limits: RateLimits
    idempotency: Idempotency
    draining: asyncio.Event
    """Set as soon as the server is told to end: what only waits is answered then."""
