"""One field of a form: its head lines, its bytes, its size."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote_plus

from .._body import Bytes, FileRegion, Segment, SyncReader, utf8
from .._headers import is_token
from .._source import base_name, describe, file_name, is_file, is_path
from ..exceptions import InvalidBody

Callback = Callable[[Any, int, int], object]

# The WHATWG escapes, and only these three ("multipart/form-data encoding algorithm"): a backslash is sent
# as it is, since browsers do so and parsers disagree about it.
_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})
_FORBIDDEN_IN_HEADERS = r"[\r\n\0]"  # as text: compiled when first used
# A value up to this size is one segment with its head: a copy costs less than two segments more.
_WORTH_COPYING = 4096
_TEXT = "text/plain; charset=utf-8"
_BINARY = "application/octet-stream"
# Boundaries are made so many at a time: one by one, to ask for random bytes takes a small file a hundredth of its time.
_BOUNDARIES = 64
_boundaries: list[str] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_boundaries.clear)  # they are the parent's


def gen_boundary() -> str:
    """A boundary that no data can be made to contain: 128 random bits in hexadecimal."""
    try:
        return _boundaries.pop()
    except IndexError:
        made = os.urandom(16 * _BOUNDARIES).hex()
        first, *others = [made[start : start + 32] for start in range(0, len(made), 32)]
        _boundaries.extend(others)
        return first


def encode_and_quote(data: str | bytes | None) -> bytes | None:
    """``data`` as UTF-8, quoted as ``urllib.parse.quote_plus`` does; None stays None (poster)."""
    return None if data is None else quote_plus(data).encode("ascii")


def quoted_boundary(boundary: str | bytes) -> bytes:
    """The boundary as it goes on the wire.

    Raises:
        ValueError: it is empty, or longer than the 70 characters that RFC 2046, section 5.1.1 allows.
    """
    quoted = quote_plus(boundary).encode("ascii")
    if not 0 < len(quoted) <= 70:
        raise InvalidBody(f"a boundary has 1 to 70 characters (RFC 2046); {boundary!r} has {len(quoted)}")
    return quoted


_END = Bytes(b"\r\n")


class MultipartParam:
    """One parameter of a ``multipart/form-data`` request.

    Args:
        name: the field's name.
        value: its value: text, bytes or a number. Either this or ``fileobj``, not both.
        filename: what the file is to be called, which need not be the name of any file here.
        filetype: its Content-Type; by default guessed from ``filename``, else ``text/plain; charset=utf-8``
            for text and ``application/octet-stream`` for other bytes.
        filesize: bytes that ``fileobj`` will give. Needed for iterators and pipes; for a file it is found by
            ``fstat``, else by seeking.
        fileobj: where the bytes come from: a path object, an open file, an aiofiles file, an iterable of bytes.
        cb: called as ``cb(param, current, total)`` as this parameter's blocks are encoded, in bytes.
        headers: further header lines of the part.

    Raises:
        ValueError: both ``value`` and ``fileobj`` are given, the source has no size, or a header of the part
            holds CR, LF or NUL.
        FileUnreadable: a path can't be opened.
    """

    def __init__(
        self,
        name: str | bytes,
        value: Any = None,
        filename: str | bytes | None = None,
        filetype: str | None = None,
        filesize: int | None = None,
        fileobj: Any = None,
        cb: Callback | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if value is not None and fileobj is not None:
            raise InvalidBody(f"the field {name!r} has both a value and a fileobj: pass one of them")
        if filesize is not None:
            _check_filesize(name, filesize)
        self.name = _text(name)
        self.filename = None if filename is None else _text(filename)
        self.cb = cb
        self.headers: dict[Any, Any] = _header_lines(name, headers) if headers else {}
        self.fileobj = fileobj
        self._segment: Segment | None = None
        self.value: bytes | None = None
        if value is not None:
            segment = describe(value)
            if not isinstance(segment, Bytes):
                raise InvalidBody(f"the value of {name!r} is text, bytes or a number; pass files as fileobj=")
            self.value = segment.data
        elif fileobj is not None:
            self._segment = describe(fileobj, filesize)
            filesize = self._segment.length
        self.filesize = filesize
        self.filetype = filetype or self._guess_type(value)
        _check_headers(self)

    def _guess_type(self, value: Any) -> str:
        guessed = _type_by_name(self.filename) if self.filename else None
        if guessed:
            return guessed
        if self.fileobj is not None:
            return _TEXT if isinstance(self.fileobj, (str, io.StringIO)) else _BINARY
        if value is None and self.filesize is not None:  # a file whose bytes somebody else sends
            return _BINARY
        if isinstance(value, (bytes, bytearray, memoryview)):
            return _BINARY if self.filename or not _is_utf8(self.value or b"") else _TEXT
        return _TEXT

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MultipartParam):
            return NotImplemented
        return self._compared() == other._compared()

    def _compared(self) -> tuple[Any, ...]:
        return self.name, self.value, self.filename, self.filetype, self.filesize, self.fileobj, self.headers

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<MultipartParam [{self.name}]>"

    @classmethod
    def from_file(cls, paramname: str, filename: str | os.PathLike[str]) -> MultipartParam:
        """A parameter for the file at ``filename``: base name, guessed type and size; opened when it is due.

        Raises:
            FileUnreadable: there is no such file, it is a directory, or it may not be read.
        """
        from pathlib import Path

        return cls(paramname, filename=base_name(os.fspath(filename)), fileobj=Path(filename))

    @classmethod
    def from_params(cls, params: Any) -> list[MultipartParam]:
        """Parameters from a mapping, from pairs, or from MultipartParams, in any mixture and once iterable.

        A value may be text, bytes, a number, an open file (its base name becomes the filename), a path object,
        a tuple ``(filename, source[, content_type[, headers]])``, a list of any of these, or a MultipartParam.
        None leaves the field out.
        """
        return [param for name, value in _pairs(params) for param in cls._from_pair(name, value)]

    @classmethod
    def from_files(cls, files: Any) -> list[MultipartParam]:
        """Like :meth:`from_params` for ``files=``: each has a filename, the field's name if it has no other."""
        return [param for name, value in _pairs(files) for param in cls._from_pair(name, value, name and _text(name))]

    @classmethod
    def _from_pair(cls, name: Any, value: Any, fallback: str | None = None) -> list[MultipartParam]:
        if value is None:
            return []
        if isinstance(value, MultipartParam):
            if name is not None and name != value.name:
                raise InvalidBody(f"the MultipartParam under {name!r} is named {value.name!r}")
            return [value]
        if is_path(value) and not isinstance(value, (str, tuple, list)):  # first: most files are paths
            return [cls(name, filename=file_name(value) or fallback, fileobj=value)]
        if _is_file_tuple(value):
            return [] if value[1] is None else [cls._from_tuple(name, *value)]
        if isinstance(value, (list, tuple, set, frozenset)):
            return [param for item in value for param in cls._from_pair(name, item, fallback)]
        return [cls._from_source(name, value, filename=_name_of(value) or fallback)]

    @classmethod
    def _from_tuple(
        cls, name: Any, filename: Any, source: Any, filetype: str | None = None, headers: Any = None
    ) -> MultipartParam:
        return cls._from_source(name, source, filename=filename, filetype=filetype, headers=headers)

    @classmethod
    def _from_source(cls, name: Any, source: Any, **options: Any) -> MultipartParam:
        if isinstance(source, (str, bytes, bytearray, memoryview)) or not _is_source(source):
            return cls(name, source, **options)
        return cls(name, fileobj=source, **options)

    def encode_hdr(self, boundary: str | bytes) -> bytes:
        """The delimiter line and the head of the part, its empty line included (RFC 7578, section 4.2)."""
        return self._head(quoted_boundary(boundary))

    def _head(self, boundary: bytes) -> bytes:
        return _head_of(boundary, self.name, self.filename, self.filetype, self.headers)

    def encode(self, boundary: str | bytes) -> bytes:
        """The whole part. Blocks while it reads a file; :meth:`iter_encode` does not.

        Raises:
            ValueError: the boundary is in the data, or the source can only be read asynchronously.
        """
        data = self._read_now()
        refuse_boundary(data, b"--" + quoted_boundary(boundary), self.name)
        return b"%b%b\r\n" % (self.encode_hdr(boundary), data)

    def _read_now(self) -> bytes:
        if self.value is not None:
            return self.value
        if isinstance(self._segment, Bytes):
            return self._segment.data
        if isinstance(self._segment, (FileRegion, SyncReader)):
            return self._segment.read_now()
        raise InvalidBody(f"the source of {self.name!r} can't be read at once: use iter_encode() or multipart_encode()")

    async def iter_encode(self, boundary: str | bytes, blocksize: int = 4096) -> AsyncGenerator[bytes, None]:
        """The part in blocks of at most ``blocksize`` bytes; ``cb`` is called for each.

        Raises:
            ValueError: the boundary is in the data.
        """
        total = self.get_size(boundary)
        current = 0
        async with contextlib.aclosing(self._blocks(boundary, blocksize)) as blocks:
            async for block in blocks:
                current += len(block)
                if self.cb:
                    self.cb(self, current, total)
                yield block

    async def _blocks(self, boundary: str | bytes, blocksize: int) -> AsyncGenerator[bytes, None]:
        if self._segment is None:
            yield self.encode(boundary)
            return
        yield self.encode_hdr(boundary)
        watched = Watched(self._segment, b"--" + quoted_boundary(boundary), self.name)
        async with contextlib.aclosing(watched.chunks()) as chunks:
            async for chunk in chunks:
                for start in range(0, len(chunk), blocksize):
                    yield chunk[start : start + blocksize]
        yield b"\r\n"

    def get_size(self, boundary: str | bytes) -> int:
        """Bytes of the whole part, head and final CR LF included."""
        if self.filesize is not None:
            size = self.filesize
        elif self.value is not None:
            size = len(self.value)
        else:
            raise InvalidBody(f"the field {self.name!r} has no value, no file and no filesize")
        return len(self.encode_hdr(boundary)) + size + 2

    def reset(self) -> None:
        """Be ready to be encoded again. Nothing needs to be rewound, so this only checks that it can be.

        Raises:
            UnrewindableBodyError: the source can be read only once, and has begun.
            ValueError: there is neither a value nor a file (as in poster).
        """
        if self._segment is not None:
            self._segment.require_fresh()
        elif self.value is None:
            raise ValueError("Don't know how to reset this parameter")

    def segments(self, boundary: bytes, *, watch: bool) -> list[Segment]:
        """What a body is made of, its boundary quoted; ``watch`` for one that the caller chose: data may contain it."""
        head = self._head(boundary)
        segment: Segment
        if self._segment is None or isinstance(self._segment, Bytes):
            data = self._read_now()
            if watch:
                refuse_boundary(data, b"--" + boundary, self.name)
            if len(data) <= _WORTH_COPYING:
                return [Bytes(b"%b%b\r\n" % (head, data))]
            segment = Bytes(data)
        else:
            segment = Watched(self._segment, b"--" + boundary, self.name) if watch else self._segment
        return [Bytes(head), segment, _END]


def file_segments(
    name: str, filename: str, filetype: str | None, content: Segment, boundary: bytes
) -> tuple[Segment, ...]:
    """A form of nothing but one file, whose bytes are described already.

    What a MultipartParam and a MultipartBody make of it, without a param that somebody could watch: in a bulk upload of
    small files that saves a tenth of the time.

    Args:
        name: the field's name.
        filename: not empty.
        filetype: the file's Content-Type; by default guessed from ``filename``.
        content: the file's bytes.
        boundary: random.

    Raises:
        InvalidBody: ``filetype`` may not go on the wire.
    """
    name, filename = _text(name), _text(filename)
    filetype = filetype or _type_by_name(filename) or _BINARY
    _check_header_line(name, filetype)
    head = _head_of(boundary, name, filename, filetype, None)
    if isinstance(content, Bytes) and content.length <= _WORTH_COPYING:
        return (Bytes(b"%b%b\r\n--%b--\r\n" % (head, content.data, boundary)),)
    return Bytes(head), content, Bytes(b"\r\n--%b--\r\n" % boundary)


def _head_of(
    boundary: bytes, name: str, filename: str | None, filetype: str, headers: Mapping[str, str] | None
) -> bytes:
    named = "" if filename is None else f'; filename="{_escaped(filename)}"'
    head = f'Content-Disposition: form-data; name="{_escaped(name)}"{named}\r\nContent-Type: {filetype}'
    if headers:
        head += "".join([f"\r\n{field}: {value}" for field, value in headers.items()])
    return b"--%b\r\n%b\r\n\r\n" % (boundary, utf8(head, "surrogateescape"))


class Watched(Segment):
    """A segment in whose bytes a boundary is looked for as they pass."""

    __slots__ = ("_delimiter", "_name", "_segment")

    def __init__(self, segment: Segment, delimiter: bytes, name: str) -> None:
        super().__init__(segment.length)
        self._segment = segment
        self._delimiter = delimiter
        self._name = name

    @property
    def one_shot(self) -> bool:
        """Whether the segment behind it can be read once only."""
        return self._segment.one_shot

    def require_fresh(self) -> None:
        self._segment.require_fresh()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        overlap = len(self._delimiter) - 1
        tail = b""
        async with contextlib.aclosing(self._segment.chunks()) as chunks:
            async for chunk in chunks:
                refuse_boundary(tail + chunk, self._delimiter, self._name)
                tail = (tail + chunk)[-overlap:]
                yield chunk


def refuse_boundary(data: bytes, delimiter: bytes, name: str) -> None:
    """Raise ValueError when the delimiter is in the data: the reader would take it for the part's end."""
    if delimiter in data:
        raise InvalidBody(
            f"boundary found in the data of {name!r}: choose another boundary, or pass none and get a random one"
        )


def _pairs(params: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(params, (dict, Mapping)):
        return params.items()
    if isinstance(params, (str, bytes)) or is_file(params) or not isinstance(params, (list, Iterable, MultipartParam)):
        raise InvalidBody(
            "fields are a mapping such as {'photo': pathlib.Path('photo.jpg')}, pairs or MultipartParams, "
            f"not {type(params).__name__}"
        )
    if isinstance(params, MultipartParam):
        return [(None, params)]
    return [(None, item) if isinstance(item, MultipartParam) else _pair(item) for item in params]


def _pair(item: Any) -> tuple[Any, Any]:
    try:
        name, value = item
    except (TypeError, ValueError) as error:
        raise InvalidBody(f"{item!r} is neither a pair (name, value) nor a MultipartParam") from error
    return name, value


def _is_file_tuple(value: Any) -> bool:
    return (
        isinstance(value, (tuple, list))
        and 2 <= len(value) <= 4
        and (value[0] is None or isinstance(value[0], (str, bytes)))
        and (isinstance(value, tuple) or is_file(value[1]) or is_path(value[1]))
    )


def _is_source(value: Any) -> bool:
    return is_file(value) or is_path(value) or hasattr(value, "__iter__") or hasattr(value, "__aiter__")


def _name_of(value: Any) -> str | None:
    return file_name(value) if is_file(value) or is_path(value) else None


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES) if '"' in text or "\r" in text or "\n" in text else text


def _type_by_name(filename: str) -> str | None:
    """As ``mimetypes`` has it for a file; most names end with an extension that is known by itself (5 µs less)."""
    import mimetypes  # not before the first file

    extension = "." + filename.rpartition(".")[2]
    known = mimetypes.types_map.get(extension) if mimetypes.inited else None
    if (
        known is not None
        and extension not in mimetypes.encodings_map
        and extension not in mimetypes.suffix_map
        and "/" not in filename
        and "." in filename.lstrip(".")  # ".txt" is a hidden file without any
    ):
        return known
    return mimetypes.guess_type("./" + filename)[0]  # it would take "a: b.txt" for a URL


def _text(name: Any) -> str:
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _check_filesize(name: Any, filesize: Any) -> None:
    if filesize is not None and (not isinstance(filesize, int) or filesize < 0):
        raise InvalidBody(f"the field {name!r} has filesize={filesize!r}, which is no number of bytes")


def _header_lines(name: Any, headers: Any) -> dict[Any, Any]:
    try:
        return dict(headers)
    except (TypeError, ValueError) as error:
        raise InvalidBody(f"the headers of the field {name!r} are a mapping, not {type(headers).__name__}") from error


def _check_header_line(name: str, line: Any) -> None:
    if not isinstance(line, str) or (not line.isprintable() and re.search(_FORBIDDEN_IN_HEADERS, line)):
        raise InvalidBody(f"a header of the field {name!r} holds CR, LF or NUL, or isn't text: {line!r}")


def _check_headers(param: MultipartParam) -> None:
    _check_header_line(param.name, param.filetype)
    for name, value in param.headers.items():
        _check_header_line(param.name, name)
        _check_header_line(param.name, value)
        if not is_token(name):
            raise InvalidBody(f"{name!r} can't be the name of a header of the field {param.name!r}: it is no token")
