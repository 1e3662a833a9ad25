"""How far an upload has come: counted once, told to whoever asked."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

from ._body import Body


class UploadProgress(NamedTuple):
    """How far one upload has come.

    Attributes:
        param: the MultipartParam whose bytes left last, or None (the closing boundary; a body without parts).
        sent: bytes of the whole body that have left for the kernel in this attempt.
        total: bytes of the whole body, or None when it is sent with chunked coding.
        param_sent: bytes of this param that have left, its head lines included.
        param_total: bytes of this param, or None.
        attempt: 1 for the first time the body is sent; a redirect, a challenge or a retry that sends it again
            starts over at 0 bytes with the next number.
    """

    param: Any
    sent: int
    total: int | None
    param_sent: int
    param_total: int | None
    attempt: int = 1


class DownloadProgress(NamedTuple):
    """How far one download has come.

    Attributes:
        received: bytes of the decoded body so far.
        total: bytes there will be, or None when the server does not say, or sends them coded.
    """

    received: int
    total: int | None


ProgressCallback = Callable[[UploadProgress], object]


def check_callback(progress: Any, told: str) -> None:
    """Refuse a ``progress=`` that could not be called, or would have to be awaited; None is none.

    Args:
        progress: what a caller handed in.
        told: what it would be called with, such as "an UploadProgress".

    Raises:
        TypeError: it is no plain function.
    """
    if progress is None:
        return
    if not callable(progress):
        raise TypeError(f"progress= is a function of {told}, not {type(progress).__name__}")
    if inspect.iscoroutinefunction(progress):
        raise TypeError(f"progress= is a plain function of {told}, not an async one")


class Upload:
    """The account of a body on its way, at last of what left: ``response.upload``.

    Attributes:
        sent: bytes of the body that the kernel took.
        total: bytes of the body, or None when it was sent with chunked coding.
        complete: whether all of it left.
    """

    __slots__ = ("complete", "sent", "total")

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.sent = 0
        self.complete = total == 0

    def __repr__(self) -> str:
        total = "?" if self.total is None else self.total
        return f"<Upload [{self.sent} of {total} bytes{', complete' if self.complete else ''}]>"


class _Span:
    """Where one param stands in the body."""

    __slots__ = ("end", "param", "start")

    def __init__(self, param: Any, start: int, end: int | None) -> None:
        self.param = param
        self.start = start
        self.end = end


class Meter:
    """Tells callbacks of the bytes that leave: per param and in all, each param's end included.

    poster's callbacks (``cb`` of the body and of each param) and ``progress=`` are served alike.
    """

    def __init__(self, body: Body, progress: ProgressCallback | None = None, attempt: int = 1) -> None:
        self._body = body
        self._progress = progress
        self._attempt = attempt
        self._sent = 0
        self._spans = _spans(body)
        self._at = 0

    @staticmethod
    def is_wanted(body: Body, progress: ProgressCallback | None) -> bool:
        """Whether anybody listens; most uploads need no meter."""
        if progress is not None or body.on_block is not None:
            return True
        for param in body.params:  # noqa: SIM110 - any() takes three times as long
            if param is not None and param.cb is not None:
                return True
        return False

    def advance(self, size: int) -> None:
        """``size`` more bytes have left. What a callback raises is raised here."""
        target = self._sent + size
        while self._sent < target:
            span = self._spans[self._at]
            self._sent = target if span.end is None else min(target, span.end)
            self._tell(span)
            if self._sent == span.end:
                self._at += 1

    def _tell(self, span: _Span) -> None:
        total = self._body.length
        param_sent = self._sent - span.start
        param_total = None if span.end is None else span.end - span.start
        if self._body.on_block is not None and total is not None:
            self._body.on_block(span.param, self._sent, total)
        cb = getattr(span.param, "cb", None)
        if cb is not None and param_total is not None:
            cb(span.param, param_sent, param_total)
        if self._progress is not None:
            self._progress(UploadProgress(span.param, self._sent, total, param_sent, param_total, self._attempt))


def _spans(body: Body) -> list[_Span]:
    spans: list[_Span] = []
    position: int | None = 0
    for segment, param in itertools.zip_longest(body.segments, body.params):
        if segment.length == 0 or position is None:
            continue
        end = None if segment.length is None else position + segment.length
        if spans and spans[-1].param is param:
            spans[-1].end = end
        else:
            spans.append(_Span(param, position, end))
        position = end
    return spans
