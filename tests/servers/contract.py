"""The parts of the echo contract that the Python servers share."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
SHOWN_BELOW = 4096
"""Bytes from which on a body is told by its length and digest alone."""
CHUNK = 1000
"""Bytes in one piece of the answer of /chunked."""


def pattern(count: int, start: int = 0) -> bytes:
    """`count` bytes in which a piece that is lost, doubled or moved shows: byte i is i modulo 251, a prime."""
    return bytes(index % 251 for index in range(start, start + count))


@dataclass
class Digest:
    """A body's length and hash, taken while it passes by."""

    length: int = 0
    _hash: Any = field(default_factory=hashlib.sha256)
    _shown: bytes = b""

    def feed(self, chunk: bytes) -> None:
        """Count the next bytes."""
        self.length += len(chunk)
        self._hash.update(chunk)
        self._shown = (self._shown + chunk)[:SHOWN_BELOW] if len(self._shown) < SHOWN_BELOW else self._shown

    def told(self) -> dict[str, Any]:
        """What the contract says of a body."""
        told: dict[str, Any] = {"length": self.length, "sha256": self._hash.hexdigest()}
        if self.length < SHOWN_BELOW:
            told["body_latin1"] = self._shown.decode("latin-1")
        return told
