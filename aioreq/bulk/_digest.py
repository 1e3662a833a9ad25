"""Digests: computed off the loop while a file is read, sent along, and compared with what the server says it got."""

from __future__ import annotations

import base64
import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from .._message import Response
from ..exceptions import ExtraRequired, RequestException

Algorithm = Literal["sha256", "md5", "crc32c"]

# What RFC 9530 calls them.
_REGISTERED = {"sha256": "sha-256", "md5": "md5", "crc32c": "crc32c"}


class DigestMismatch(RequestException):
    """The server says it got something else than was sent.

    Attributes:
        expected: the digest of what was sent, in hexadecimal.
        seen: what the server says.
    """

    def __init__(self, message: str = "", *, expected: str = "", seen: str = "", **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.expected = expected
        self.seen = seen


class Hasher(Protocol):
    """What computes a digest."""

    def update(self, data: bytes) -> object:
        """More bytes."""

    def digest(self) -> bytes:
        """The digest of all bytes so far."""


@dataclass(frozen=True, slots=True)
class Digest:
    """Which digest is computed of each source, how it is sent, and how it is compared.

    Args:
        algorithm: "sha256", "md5", or "crc32c" (with the extra ``aioreq[crc32c]``).
        header: the request's header that carries it. Without ``header`` and ``field``, a raw upload has it in
            Content-MD5 (RFC 1864) or Content-Digest (RFC 9530), and a form in a field named after the algorithm.
        field: the form's field that carries it; it comes before the file.
        encoding: "hex", "base64", or a function of the digest's bytes; by default base64 in headers and hex in fields.
        verify: a function of the answer that gives what the server says it got, in hex or base64, as text (an ETag
            with its quotes will do); or None where it does not say. Only answers below 400 are looked at.

    Raises:
        ValueError: there is no such algorithm.
        ExtraRequired: google-crc32c is not installed.
    """

    algorithm: Algorithm
    header: str | None = None
    field: str | None = None
    encoding: Literal["hex", "base64"] | Callable[[bytes], str] | None = None
    verify: Callable[[Response], str | None] | None = None

    def __post_init__(self) -> None:
        if self.algorithm not in _REGISTERED:
            raise ValueError(f"a digest is one of {', '.join(_REGISTERED)}; not {self.algorithm!r}")
        self.hasher()

    @classmethod
    def of(cls, value: Any) -> Digest | None:
        """What callers pass: a Digest, an algorithm's name, or None."""
        return value if value is None or isinstance(value, Digest) else cls(value)

    def hasher(self) -> Hasher:
        """What computes it."""
        if self.algorithm == "crc32c":
            return _crc32c()
        # MD5 guards nothing here: it is what servers ask for.
        return hashlib.new(self.algorithm, usedforsecurity=False)

    def header_field(self, digest: bytes, *, raw: bool) -> tuple[str, str] | None:
        """The request's header for a digest, or None when it goes elsewhere."""
        if self.header is not None:
            return self.header, self._encoded(digest, "base64")
        if self.field is not None or not raw:
            return None
        if self.algorithm == "md5":
            return "Content-MD5", _base64(digest)
        return "Content-Digest", f"{_REGISTERED[self.algorithm]}=:{_base64(digest)}:"

    def form_field(self, digest: bytes) -> tuple[str, str] | None:
        """The form's field for a digest, or None when it goes elsewhere."""
        if self.field is None and self.header is not None:
            return None
        return self.field or self.algorithm, self._encoded(digest, "hex")

    def _encoded(self, digest: bytes, usual: Literal["hex", "base64"]) -> str:
        encoding = self.encoding or usual
        if callable(encoding):
            return encoding(digest)
        return digest.hex() if encoding == "hex" else _base64(digest)

    def check(self, response: Response, digest: bytes) -> None:
        """Compare with what an answer says.

        Raises:
            DigestMismatch: it is something else.
        """
        if self.verify is None or not response.ok:
            return
        seen = self.verify(response)
        if seen is None:
            return
        text = seen.removeprefix("W/").strip('" ')
        if text.lower() != digest.hex() and text != _base64(digest):
            raise DigestMismatch(
                f"the {self.algorithm} is {digest.hex()}, but the server says {seen}",
                response=response,
                expected=digest.hex(),
                seen=seen,
            )


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


def _crc32c() -> Hasher:
    try:
        hasher: Hasher = importlib.import_module("google_crc32c").Checksum()
    except ImportError as error:
        raise ExtraRequired("CRC32C needs google-crc32c: pip install 'aioreq[crc32c]'") from error
    return hasher
