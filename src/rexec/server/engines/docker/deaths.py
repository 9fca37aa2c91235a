"""What a container that was killed died of."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from rexec.server.engines.docker.client import Client
from rexec.server.ports.records import Observation

_NEAR = timedelta(seconds=2)
_BEFORE = timedelta(seconds=60)
_NANOSECONDS = 1e9


async def ran_out_of_memory(client: Client, observed: Observation) -> bool:
    """Whether it was want of memory that ended it. Docker's flag says only that some process of the container was ever
    killed for it; Docker's log of events says when. Where the log no longer reaches back, the flag is all there is."""
    if not observed.out_of_memory or observed.finished_at is None:
        return observed.out_of_memory
    filters = {"container": [str(observed.engine_id)], "event": ["die", "oom"]}
    params = {
        "filters": json.dumps(filters),
        "since": f"{(observed.finished_at - _BEFORE).timestamp():.9f}",
        "until": f"{(observed.finished_at + _NEAR).timestamp():.9f}",
    }
    async with client.stream("GET", "events", params=params, timeout=10) as response:
        seen = [event async for event in client.lines(response)]
    ends = _times(seen, "die")
    if not ends:
        return True
    return any(abs(ends[-1] - at) <= _NEAR.total_seconds() for at in _times(seen, "oom"))


def _times(events: list[dict[str, Any]], action: str) -> list[float]:
    return [int(event["timeNano"]) / _NANOSECONDS for event in events if event.get("Action") == action]
