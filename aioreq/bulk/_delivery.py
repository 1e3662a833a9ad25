"""One item on its way: what is known of it, and what has been tried."""

from __future__ import annotations

from .._body import Segment
from .._message import Request
from .._url import Origin
from ._item import Upload


class Delivery:
    """An item between its being taken and its result.

    Attributes:
        item: the caller's.
        url: where it goes; None while only an async function knows.
        origin: whose lane it takes; None while the URL is not known.
        key: its Idempotency-Key.
        identity: what the journal knows it by, or None without a journal.
        size: bytes of the source, once known.
        mtime: the file's, in nanoseconds, once known.
        segment: its bytes, when they are ready to be sent.
        request: what carries them, where it could be made ahead.
        weight: bytes of memory that ``segment`` holds.
        digest: of the source, once computed.
        ready: whether it can be sent, or is known not to be.
        problem: why it can't be sent, or None.
        attempts: how many times it was sent.
        begun: when the first attempt began, by ``perf_counter``.
    """

    # How all of them begin.
    key = ""
    identity: bytes | None = None
    size: int | None = None
    mtime: int | None = None
    segment: Segment | None = None
    request: Request | None = None
    weight = 0
    digest: bytes | None = None
    ready = False
    problem: Exception | None = None
    attempts = 0
    begun = 0.0

    def __init__(self, item: Upload, url: str | None, origin: Origin | None) -> None:
        self.item = item
        self.url = url
        self.origin = origin

    def unload(self) -> None:
        """Let the bytes go; they are read again when they are due again."""
        self.segment = self.request = None
        self.weight = 0
        self.ready = False

    def __repr__(self) -> str:
        return f"<Delivery [{self.item.label}]>"
