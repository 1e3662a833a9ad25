"""Content codings: taken off as they arrive, refused when they are broken or unfold to too much."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioreq._rules.decode import DecodedStream, Unfolding, accept_encoding, decode, unfolding
from aioreq.exceptions import ContentDecodingError

try:
    from compression import zstd
except ModuleNotFoundError:
    from backports import zstd


def raw_deflate(data: bytes) -> bytes:
    coder = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return coder.compress(data) + coder.flush()


CODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstd.compress),
    "two codings": ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
}


@pytest.fixture(params=CODERS)
def coder(request: pytest.FixtureRequest) -> tuple[str, Callable[[bytes], bytes]]:
    return CODERS[request.param]


def steps_for(name: str) -> Unfolding:
    steps = unfolding(name)
    assert steps is not None
    return steps


@given(data=st.binary(max_size=4000), cut=st.integers(1, 50))
def test_any_split_unfolds_to_the_same(data: bytes, cut: int) -> None:
    """However the coded bytes arrive, the decoded ones are the same."""
    for name, encode in CODERS.values():
        coded = encode(data)
        steps = steps_for(name)
        pieces = [coded[start : start + cut] for start in range(0, len(coded), cut)]
        assert b"".join(part for piece in pieces for part in steps.feed(piece)) == data
        steps.end()


def test_a_body_cut_short_is_an_error(coder: tuple[str, Callable[[bytes], bytes]]) -> None:
    """A coded body that ends too early is never taken for a whole one."""
    name, encode = coder
    with pytest.raises(ContentDecodingError, match="too early"):
        decode(encode(b"hello" * 1000)[:-6], name)


def test_a_broken_body_is_an_error(coder: tuple[str, Callable[[bytes], bytes]]) -> None:
    """Bytes that are not in the coding are an error."""
    with pytest.raises(ContentDecodingError):
        decode(b"\xff\xfe this is no coded body at all \xff" * 4, coder[0])


@pytest.mark.parametrize("name", ["gzip", "br", "zstd"])
def test_a_bomb_is_refused_before_it_unfolds(name: str) -> None:
    """What unfolds to gigabytes is refused after megabytes, and never held at once."""
    zeros = bytes(64 * 1024 * 1024)
    bomb = brotli.compress(zeros, quality=1) if name == "br" else CODERS[name][1](zeros)
    tracemalloc.start()
    try:
        with pytest.raises(ContentDecodingError, match="attack"):
            for _ in steps_for(name).feed(bomb):
                pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 1024 * 1024


def test_members_follow_each_other() -> None:
    """Several gzip members, several zstd frames are one body; zeros behind the last member are padding."""
    assert decode(gzip.compress(b"a") + gzip.compress(b"b") + bytes(20), "gzip") == b"ab"
    assert decode(zstd.compress(b"a") + zstd.compress(b"b"), "zstd") == b"ab"


def test_an_unknown_coding_stays_on() -> None:
    """A coding that nobody here knows is left on, and the header says so."""
    assert decode(b"as it came", "compress") == b"as it came"
    assert decode(b"as it came", "identity") == b"as it came"
    assert decode(b"", "gzip") == b""


def test_what_can_be_decoded_is_offered() -> None:
    """The Accept-Encoding header offers what is installed."""
    assert accept_encoding() == "gzip, deflate, br, zstd"


class Coded:
    """An answer's stream."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.closed = False

    async def receive(self) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    async def aclose(self) -> None:
        self.closed = True


async def test_a_stream_is_decoded_as_it_arrives() -> None:
    """Each piece is decoded when it comes; the end is the end."""
    coded = gzip.compress(b"hello world")
    stream = DecodedStream(Coded(coded[:12], coded[12:]), steps_for("gzip"))
    decoded = b""
    while piece := await stream.receive():
        decoded += piece
    assert decoded == b"hello world"
    assert await stream.receive() == b""


async def test_a_broken_stream_gives_its_connection_up() -> None:
    """What comes behind a broken coding is not waited for."""
    source = Coded(b"no gzip at all", b"more")
    with pytest.raises(ContentDecodingError):
        await DecodedStream(source, steps_for("gzip")).receive()
    assert source.closed
