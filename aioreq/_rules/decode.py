"""Content codings taken off an answer (RFC 9110, section 8.4.1), with a limit on what they may unfold to."""

from __future__ import annotations

import zlib
from typing import Protocol

from .._message import AnswerStream
from ..exceptions import ContentDecodingError

ACCEPT_ENCODING = "gzip, deflate"

# A zip bomb makes gigabytes out of kilobytes; text seldom shrinks to less than a fiftieth.
_MAX_RATIO = 200
_FREE_OF_CHECK = 32 * 1024 * 1024


class Decoder(Protocol):
    """Takes coded bytes in, gives decoded ones out."""

    def feed(self, data: bytes) -> bytes:
        """What the next coded bytes unfold to."""

    def end(self) -> bytes:
        """What is left when the coded bytes have ended."""


class _Zlib:
    """gzip (RFC 1952) and deflate (RFC 1950, or RFC 1951 as some servers have it)."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._wbits = 16 + zlib.MAX_WBITS if coding == "gzip" else zlib.MAX_WBITS
        self._object = zlib.decompressobj(self._wbits)
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        try:
            decoded = self._feed(data)
        except zlib.error as error:
            raise ContentDecodingError(f"the answer's {self._coding} coding is broken: {error}") from error
        return decoded

    def _feed(self, data: bytes) -> bytes:
        try:
            decoded = self._object.decompress(data)
        except zlib.error:
            if self._begun or self._coding != "deflate":
                raise
            self._object = zlib.decompressobj(-zlib.MAX_WBITS)
            decoded = self._object.decompress(data)
        self._begun = True
        while self._object.eof and self._object.unused_data and self._coding == "gzip":
            rest = self._object.unused_data.lstrip(b"\0")
            self._object = zlib.decompressobj(self._wbits)  # gzip members may follow each other
            decoded += self._object.decompress(rest)
        return decoded

    def end(self) -> bytes:
        if self._begun and not self._object.eof:
            raise ContentDecodingError(f"the answer's {self._coding} coding ends too early")
        return b""


class _Limited:
    """Several codings in a row, and the guard against bombs."""

    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders
        self._coded = 0
        self._decoded = 0

    def feed(self, data: bytes) -> bytes:
        self._coded += len(data)
        for decoder in self._decoders:
            data = decoder.feed(data)
            self._check(len(data))
        self._decoded += len(data)
        return data

    def end(self) -> bytes:
        rest = b""
        for decoder in self._decoders:
            rest = (decoder.feed(rest) if rest else b"") + decoder.end()
        return rest

    def _check(self, more: int) -> None:
        total = self._decoded + more
        if total > _FREE_OF_CHECK and total > self._coded * _MAX_RATIO:
            raise ContentDecodingError(
                f"the answer unfolds to more than {_MAX_RATIO} times its size: {self._coded} bytes became {total}"
            )


def decoder_for(content_encoding: str) -> _Limited | None:
    """The decoder for a Content-Encoding header, or None when there is nothing (known) to take off."""
    decoders: list[Decoder] = []
    for coding in reversed([part.strip().lower() for part in content_encoding.split(",")]):
        if coding in ("gzip", "x-gzip"):
            decoders.append(_Zlib("gzip"))
        elif coding == "deflate":
            decoders.append(_Zlib("deflate"))
        elif coding not in ("", "identity"):
            return None  # as it came; the header says what it is
    return _Limited(decoders) if decoders else None


def decode(content: bytes, content_encoding: str) -> bytes:
    """A whole body without its codings.

    Raises:
        ContentDecodingError: they are broken, or unfold to too much.
    """
    decoder = decoder_for(content_encoding)
    if decoder is None or not content:
        return content
    return decoder.feed(content) + decoder.end()


class DecodedStream:
    """A body whose codings are taken off as it arrives."""

    def __init__(self, stream: AnswerStream, decoder: _Limited) -> None:
        self._stream = stream
        self._decoder = decoder
        self._ended = False

    async def receive(self) -> bytes:
        """The next decoded bytes; ``b""`` at the end."""
        while not self._ended:
            coded = await self._stream.receive()
            if not coded:
                self._ended = True
                return self._decoder.end()
            decoded = self._decoder.feed(coded)
            if decoded:
                return decoded
        return b""

    async def aclose(self) -> None:
        """Stop."""
        await self._stream.aclose()
