"""Whole forms: a body of known length, and poster's functions around it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from .._body import Body, Bytes, Segment
from .._progress import Meter
from ._param import Callback, MultipartParam, file_segments, gen_boundary, quoted_boundary


class MultipartBody(Body):
    """A form as a body: iterable as often as its sources allow, each time from the first byte.

    Attributes:
        boundary: what separates the parts.
    """

    def __init__(
        self, params: Iterable[MultipartParam], boundary: str | bytes | None = None, cb: Callback | None = None
    ) -> None:
        # A random boundary can't be in the data; one that the caller chose can, and is looked for.
        self.boundary = gen_boundary().encode("ascii") if boundary is None else quoted_boundary(boundary)
        segments: list[Segment] = []
        owners: list[MultipartParam | None] = []
        for param in params:
            own = param.segments(self.boundary, watch=boundary is not None)
            segments += own
            owners += [param] * len(own)
        segments.append(Bytes(b"--%b--\r\n" % self.boundary))
        owners.append(None)
        super().__init__(segments, f"multipart/form-data; boundary={self.boundary.decode('ascii')}", owners)
        self.on_block = cb

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        meter = Meter(self)
        async with contextlib.aclosing(super().__aiter__()) as chunks:  # given up here, the file is closed there
            async for chunk in chunks:
                meter.advance(len(chunk))
                yield chunk


def file_form(name: str, filename: str, filetype: str | None, content: Segment) -> Body:
    """A form of nothing but one file; see :func:`file_segments`.

    Raises:
        InvalidBody: ``filetype`` may not go on the wire.
    """
    boundary = gen_boundary()
    segments = file_segments(name, filename, filetype, content, boundary.encode("ascii"))
    return Body(segments, f"multipart/form-data; boundary={boundary}")


def multipart_encode(
    params: Any, boundary: str | bytes | None = None, cb: Callback | None = None
) -> tuple[MultipartBody, dict[str, str]]:
    """Encode ``params`` as ``multipart/form-data``, reading nothing yet.

    Args:
        params: a mapping of names to values, or a sequence of pairs and MultipartParams; see
            :meth:`MultipartParam.from_params` for what a value may be.
        boundary: what separates the parts; random by default.
        cb: called as ``cb(param, current, total)`` for every block, in bytes of the whole body; ``param`` is
            None for the closing boundary.

    Returns:
        ``(datagen, headers)``: an async iterable of bytes, which can be iterated again, and a dict with its
        Content-Type and Content-Length.

    Raises:
        ValueError: the boundary that was passed is in a value (at once) or in a file (while it is read); a
            source has no size.
    """
    body = MultipartBody(MultipartParam.from_params(params), boundary, cb)
    return body, _headers(body.boundary, len(body))


def get_headers(params: Any, boundary: str | bytes) -> dict[str, str]:
    """The Content-Type and Content-Length of ``params`` encoded with ``boundary``."""
    return _headers(quoted_boundary(boundary), get_body_size(params, boundary))


def _headers(boundary: bytes, length: int) -> dict[str, str]:
    content_type = f"multipart/form-data; boundary={boundary.decode('ascii')}"
    return {"Content-Type": content_type, "Content-Length": str(length)}


def get_body_size(params: Any, boundary: str | bytes) -> int:
    """Bytes of ``params`` encoded with ``boundary``, the closing line included."""
    closing = len(quoted_boundary(boundary)) + len(b"----\r\n")
    return sum(param.get_size(boundary) for param in MultipartParam.from_params(params)) + closing


def encode_string(boundary: str | bytes, name: str, value: Any) -> bytes:
    """The part for one value."""
    return MultipartParam(name, value).encode(boundary)


def encode_file_header(
    boundary: str | bytes, paramname: str, filesize: int, filename: str | None = None, filetype: str | None = None
) -> bytes:
    """What goes before the bytes of a file of ``filesize`` bytes; CR LF goes behind them."""
    return MultipartParam(paramname, filesize=filesize, filename=filename, filetype=filetype).encode_hdr(boundary)
