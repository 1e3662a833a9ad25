"""Content codings taken off an answer (RFC 9110, section 8.4.1), with a limit on what they may unfold to.

Decoders give their output in pieces of limited size, so that a bomb is noticed before it has gone off: a coded
kilobyte may stand for a gigabyte, and nothing here ever holds more than a piece of that at a time.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Protocol

from .._message import AnswerStream
from ..exceptions import ContentDecodingError

_PIECE = 256 * 1024
# Text seldom shrinks to less than a fiftieth; what unfolds to more than 200 times its size is a bomb. Small answers
# are left alone: a page of blanks may well shrink further.
_MAX_RATIO = 200
_ALWAYS_ALLOWED = 16 * 1024 * 1024
# Nobody puts more of them on top of each other, and each takes memory of its own; curl has the same limit.
_MAX_CODINGS = 5
# As binary logarithm: the largest window that RFC 1951 has.
_WINDOW = 15
# As binary logarithm: what a frame may have its decoder keep. RFC 9659 sets 8 MiB for HTTP, the library 128 MiB.
_ZSTD_WINDOW = 23


class Decoder(Protocol):
    """Takes one coding off."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What the next coded bytes unfold to, in pieces."""

    def end(self) -> None:
        """Raise ContentDecodingError unless the coded bytes were whole."""


class _Zlib:
    """gzip (RFC 1952) and deflate (RFC 1950, or RFC 1951 as some servers have it)."""

    def __init__(self, coding: str) -> None:
        import zlib  # not before the first coded answer

        self._coding = coding
        self._error = zlib.error
        self._decompressor = zlib.decompressobj
        self._wbits = 16 + _WINDOW if coding == "gzip" else _WINDOW
        self._object = self._decompressor(self._wbits)
        self._begun = False
        self._first = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not self._begun:
            data = self._begin(data)
        while data:
            if self._object.eof:  # which must get no more: it would keep all of it
                data = self._next_member(data)
                continue
            try:
                piece = self._object.decompress(data, _PIECE)
            except self._error as error:
                raise _broken(self._coding, error) from error
            data = self._object.unused_data or self._object.unconsumed_tail
            if piece:
                yield piece

    def _begin(self, data: bytes) -> bytes:
        """Hold the first two bytes until both are here: they tell RFC 1950 from RFC 1951."""
        self._first += data
        if len(self._first) < 2:
            return b""
        self._begun = True
        has_header = self._first[0] & 0x0F == 8 and int.from_bytes(self._first[:2]) % 31 == 0
        if self._coding == "deflate" and not has_header:
            self._object = self._decompressor(-_WINDOW)
        return self._first

    def _next_member(self, data: bytes) -> bytes:
        """Gzip members may follow each other; zeros behind the last one are padding."""
        rest = data.lstrip(b"\0") if self._coding == "gzip" else b""
        if rest:
            self._object = self._decompressor(self._wbits)
        return rest

    def end(self) -> None:
        if not self._object.eof:
            raise _cut_short(self._coding)


class _Brotli:
    """br (RFC 7932)."""

    def __init__(self, brotli: Any) -> None:
        self._error = brotli.error
        self._object = brotli.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            try:
                piece = self._object.process(data, output_buffer_limit=_PIECE)
            except self._error as error:
                raise _broken("br", error) from error
            if piece:
                yield piece
            if self._object.is_finished() or (not piece and self._object.can_accept_more_data()):
                return
            data = b""

    def end(self) -> None:
        if not self._object.is_finished():
            raise _cut_short("br")


class _Zstd:
    """zstd (RFC 8878)."""

    def __init__(self, zstd: Any) -> None:
        self._zstd = zstd
        self._options = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW}
        self._object = zstd.ZstdDecompressor(options=self._options)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data or not self._object.needs_input:
            if self._object.eof:
                self._object = self._zstd.ZstdDecompressor(options=self._options)  # frames may follow each other
            try:
                piece = self._object.decompress(data, _PIECE)
            except self._zstd.ZstdError as error:
                raise _broken("zstd", error) from error
            data = self._object.unused_data if self._object.eof else b""
            if piece:
                yield piece
            if self._object.eof and not data:
                return

    def end(self) -> None:
        if not self._object.eof:
            raise _cut_short("zstd")


class _TooMany:
    """Stands for more codings than anybody means."""

    def feed(self, data: bytes) -> Iterator[bytes]:  # noqa: ARG002 - nothing is taken off
        raise ContentDecodingError(
            f"the answer has more than {_MAX_CODINGS} codings on top of each other, which is how an attack looks"
        )

    def end(self) -> None:
        """Never reached: there is no end without bytes before it."""


def _broken(coding: str, error: Exception) -> ContentDecodingError:
    return ContentDecodingError(f"the answer's {coding} coding is broken: {error}")


def _cut_short(coding: str) -> ContentDecodingError:
    return ContentDecodingError(f"the answer's {coding} coding ends too early")


class Unfolding:
    """Several codings taken off one after the other, with the guard against bombs.

    The guard counts what comes out of each coding: one on top may make little of what the one below it blows up.
    """

    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders
        self._coded = 0
        self._decoded = [0] * len(decoders)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What the next coded bytes unfold to, in pieces.

        Raises:
            ContentDecodingError: the coding is broken, or unfolds to too much.
        """
        self._coded += len(data)
        yield from self._through(data, 0)

    def _through(self, data: bytes, step: int) -> Iterator[bytes]:
        if step == len(self._decoders):
            yield data
            return
        for piece in self._decoders[step].feed(data):
            self._decoded[step] += len(piece)
            if self._decoded[step] > max(_ALWAYS_ALLOWED, self._coded * _MAX_RATIO):
                raise ContentDecodingError(
                    f"the answer unfolds to more than {_MAX_RATIO} times its size ({self._coded} bytes came), "
                    "which is how an attack looks; ask for it with 'Accept-Encoding: identity'"
                )
            yield from self._through(piece, step + 1)

    def end(self) -> None:
        """Raise ContentDecodingError unless the coded bytes were whole."""
        if self._coded:
            for decoder in self._decoders:
                decoder.end()


_ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"


@lru_cache(maxsize=4)
def _is_installed(module: str) -> bool:
    from importlib.util import find_spec

    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package above it is missing
        return False


_KINDS: dict[str, Callable[[], Decoder | None]] = {
    "gzip": lambda: _Zlib("gzip"),
    "x-gzip": lambda: _Zlib("gzip"),
    "deflate": lambda: _Zlib("deflate"),
    "br": lambda: _Brotli(importlib.import_module("brotli")) if _is_installed("brotli") else None,
    "zstd": lambda: _Zstd(importlib.import_module(_ZSTD)) if _is_installed(_ZSTD) else None,
}


@lru_cache(maxsize=1)
def accept_encoding() -> str:
    """The Accept-Encoding header: what can be taken off here (br and zstd are extras)."""
    optional = [coding for coding, module in (("br", "brotli"), ("zstd", _ZSTD)) if _is_installed(module)]
    return ", ".join(["gzip", "deflate", *optional])


def unfolding(content_encoding: str) -> Unfolding | None:
    """The decoders for a Content-Encoding header, or None when there is nothing (known) to take off."""
    decoders: list[Decoder] = []
    codings = [part.strip().lower() for part in content_encoding.split(",")]
    for coding in reversed([coding for coding in codings if coding not in ("", "identity")]):
        if len(decoders) == _MAX_CODINGS:
            return Unfolding([_TooMany()])
        decoder = _KINDS.get(coding, lambda: None)()
        if decoder is None:
            return None  # as it came; the header says what it is
        decoders.append(decoder)
    return Unfolding(decoders) if decoders else None


def decode(content: bytes, content_encoding: str) -> bytes:
    """A whole body without its codings.

    Raises:
        ContentDecodingError: they are broken, or unfold to too much.
    """
    steps = unfolding(content_encoding)
    if steps is None or not content:
        return content
    decoded = b"".join(steps.feed(content))
    steps.end()
    return decoded


class DecodedStream:
    """A body whose codings are taken off as it arrives."""

    def __init__(self, stream: AnswerStream, steps: Unfolding) -> None:
        self._stream = stream
        self._steps = steps
        self._pieces: Iterator[bytes] = iter(())

    async def receive(self) -> bytes:
        """The next decoded bytes; ``b""`` at the end.

        Raises:
            ContentDecodingError: the coding is broken, or unfolds to too much; the connection is closed.
        """
        try:
            while True:
                for piece in self._pieces:
                    return piece
                coded = await self._stream.receive()
                if not coded:
                    self._steps.end()
                    return b""
                self._pieces = self._steps.feed(coded)
        except ContentDecodingError:
            await self._stream.aclose()
            raise

    async def aclose(self) -> None:
        """Stop."""
        await self._stream.aclose()
