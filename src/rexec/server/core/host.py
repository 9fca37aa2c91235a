"""The engine's host as last seen: requests ask this, never the engine."""

from __future__ import annotations

import structlog

from rexec.errors import RexecError
from rexec.server.ports.engine import Engine
from rexec.server.ports.records import Capacity

_log = structlog.get_logger(__name__)


class Host:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._capacity: Capacity | None = None

    def capacity(self) -> Capacity | None:
        """None while the engine is away."""
        return self._capacity

    async def refresh(self) -> None:
        """Called at start and by the reconciler's clock."""
        try:
            self._capacity = await self._engine.capacity()
        except RexecError as error:
            if self._capacity is not None:
                _log.warning("the engine is away", error=error.message)
            self._capacity = None
