"""What is to be uploaded, and what became of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final, final

from .._message import Response
from .._source import base_name, file_name
from ..exceptions import HTTPError
from ._place import stable_url


@final
class Unset:
    """The type of :data:`UNSET`."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()


# Items and results are values, to be read only. They are not frozen all the same: there is one of each for every file,
# and a frozen one takes 2 µs more to make.


@dataclass(slots=True, eq=False)
class Upload:
    """One item of a bulk upload. What is left out is as the whole job has it.

    Args:
        source: a path (text or path object), bytes, an open file, an aiofiles file, or an iterable of bytes; text is
            always a path here.
        url: where it goes.
        name: what it is called on the other side: the filename in a form, the end of the URL for a raw upload to a
            URL that ends with a slash. By default the base name of the path.
        field: the form's field; None sends the source itself as the body.
        data: further fields of the form, a mapping or pairs; they come before the file.
        headers: put over the job's.
        method: the method.
        key: names this item for the journal and as its Idempotency-Key; needed with a journal when the source is not
            a path.
        content_type: of the file.
        size: bytes of the source, where they can't be found: iterables and pipes.
    """

    source: Any
    url: str | None = None
    name: str | None = None
    field: str | Unset | None = UNSET
    data: Any = None
    headers: Any = None
    method: str | None = None
    key: str | None = None
    content_type: str | None = None
    size: int | None = None

    @classmethod
    def of(cls, item: Any) -> Upload:
        """The item itself, or one with a bare source."""
        return item if isinstance(item, Upload) else cls(item)

    @property
    def path(self) -> str | None:
        """The path as text, or None when the source is something else."""
        source = self.source
        if isinstance(source, str):
            return source
        return os.fsdecode(source) if isinstance(source, os.PathLike) else None

    @property
    def file_name(self) -> str | None:
        """What it is called on the other side, or None when nobody knows."""
        if self.name is not None:
            return self.name
        path = self.path
        return base_name(path) or "" if path is not None else file_name(self.source)

    @property
    def label(self) -> str:
        """What it is called in messages, be it the path, else the name, the key, or its kind."""
        return self.path or self.file_name or self.key or type(self.source).__name__

    def __repr__(self) -> str:
        return f"<Upload [{self.label}]>"


@dataclass(slots=True, eq=False)
class UploadResult:
    """What became of one item.

    Attributes:
        item: the item, as :class:`Upload`.
        response: the last answer, or None when there was none. It does not keep what was sent.
        error: why there is no good answer, or None; an answer of 400 or more is no error by itself.
        attempts: how many times it was sent; 0 when it never was.
        sent: bytes of the body that left in the last attempt.
        elapsed: seconds from the beginning of the first attempt to the end of the last, pauses included.
        size: bytes of the source, or None when it could not be read.
        started: seconds from the beginning of the run to that of the last attempt.
        duration: seconds that the last attempt took.
        url: where it went, or None when that was never known.
        key: its Idempotency-Key.
        digest: the source's digest, or None when none was asked for.
        skipped: whether the journal knows it as done; then ``status`` is that of the earlier run.
        status: the status of the answer, or None without one.
    """

    item: Upload
    response: Response | None = None
    error: Exception | None = None
    attempts: int = 0
    sent: int = 0
    elapsed: float = 0.0
    size: int | None = None
    started: float = 0.0
    duration: float = 0.0
    url: str | None = None
    key: str = ""
    digest: str | None = None
    skipped: bool = False
    status: int | None = None

    @property
    def ok(self) -> bool:
        """Whether it is on the other side, by an answer below 400 now or in an earlier run, and without an error."""
        return self.error is None and self.status is not None and self.status < 400

    @property
    def problem(self) -> str | None:
        """In a line why it is not ``ok``, or None. What only signs its URL is left out."""
        if self.ok:
            return None
        error = self.failure()
        text = " ".join(str(error).split())
        if isinstance(error, KeyError) or not text:  # a key alone says nothing
            text = f"{type(error).__name__}: {text}".rstrip(": ")
        return text if self.url is None else text.replace(self.url, stable_url(self.url) or "")

    def raise_for_status(self) -> UploadResult:
        """Return the result itself if it is ``ok``.

        Raises:
            Exception: its error, or an :class:`aioreq.HTTPError` with its answer.
        """
        if self.ok:
            return self
        raise self.failure()

    def failure(self) -> Exception:
        """Its error, or the :class:`aioreq.HTTPError` that its answer amounts to."""
        if self.error is not None:
            return self.error
        if self.response is None:
            return HTTPError(f"{self.item.label} was not sent")
        try:
            self.response.raise_for_status()
        except HTTPError as error:
            return error
        return HTTPError(f"{self.response.status_code} for url: {self.response.url}", response=self.response)

    def __repr__(self) -> str:
        said = "skipped" if self.skipped else self.status if self.error is None else type(self.error).__name__
        return f"<UploadResult [{said} {self.item.label}]>"
