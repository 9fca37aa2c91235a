"""A race of asyncio's own: a connection that comes while its server closes is forgotten, with nothing but a warning."""

from __future__ import annotations

import asyncio
import gc
import warnings


async def settle() -> None:
    """After a server was closed while somebody dials it: let go of such a connection here, not in another test."""
    for _ in range(10):
        await asyncio.sleep(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
