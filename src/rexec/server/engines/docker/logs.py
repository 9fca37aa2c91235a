"""Docker's multiplexed log stream: frames of 8 bytes of head (stream, three zeros, length) and a payload."""

from __future__ import annotations

from collections.abc import AsyncIterator

LONGEST = 1 << 20
_HEAD = 8


async def last_bytes(chunks: AsyncIterator[bytes], longest: int = LONGEST) -> bytes:
    """The payloads of stdout and stderr in their order, the last `longest` bytes of them."""
    kept = bytearray()
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        position = 0
        while len(buffer) - position >= _HEAD:
            end = position + _HEAD + int.from_bytes(buffer[position + 4 : position + _HEAD], "big")
            if end > len(buffer):
                break
            kept += buffer[position + _HEAD : end]
            position = end
        del buffer[:position]
        if len(kept) > 2 * longest:
            del kept[:-longest]
    return bytes(kept[-longest:])
