"""Users' environment variables at rest."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_NONCE_BYTES = 12


class Secrets:
    """AES-256-GCM; `context` (the container's id) is authenticated, so that a sealed value fits no other row."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, values: Mapping[str, str], context: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, json.dumps(dict(values)).encode(), context.encode())

    def open(self, sealed: bytes, context: str) -> dict[str, str]:
        nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        values: dict[str, str] = json.loads(self._cipher.decrypt(nonce, text, context.encode()))
        return values
