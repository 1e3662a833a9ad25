"""Everything that can go wrong, as one tree.

    RequestException
    ├── URLRequired, InvalidURL, InvalidMethod, InvalidHeader   (ValueError)
    ├── AuthenticationError
    ├── HTTPError
    ├── TooManyRedirects
    ├── Timeout                                                 (TimeoutError)
    │   └── ConnectTimeout, ReadTimeout, WriteTimeout, PoolTimeout
    ├── ConnectionError                                         (OSError)
    │   ├── ConnectTimeout
    │   ├── SSLError, ProxyError
    │   └── RemoteProtocolError
    │       ├── ServerDisconnected
    │       └── ChunkedEncodingError
    ├── ContentDecodingError
    ├── JSONDecodeError                                         (json.JSONDecodeError)
    ├── StreamConsumedError, ResponseNotRead
    ├── InvalidBody                                             (TypeError, ValueError)
    ├── UnrewindableBodyError
    ├── BodyLengthError                                         (ValueError)
    │   └── FileChanged
    ├── FileUnreadable                                          (OSError, ValueError)
    │   └── FileMissing, FileForbidden, FileIsDirectory
    ├── ExtraRequired                                           (ImportError)
    └── SessionClosed                                           (RuntimeError)

The names are those of requests where requests has one. Each error carries ``request`` (what was being
sent, or None when it failed before there was one), ``response`` where there is one, and ``sent`` (bytes of
the body that the kernel had taken, where a body was under way).
"""

from __future__ import annotations

import builtins
import json
from typing import Any

__all__ = [
    "AuthenticationError",
    "BodyLengthError",
    "ChunkedEncodingError",
    "ConnectTimeout",
    "ConnectionError",
    "ContentDecodingError",
    "ExtraRequired",
    "FileChanged",
    "FileForbidden",
    "FileIsDirectory",
    "FileMissing",
    "FileUnreadable",
    "HTTPError",
    "InvalidBody",
    "InvalidHeader",
    "InvalidMethod",
    "InvalidURL",
    "JSONDecodeError",
    "PoolTimeout",
    "ProxyError",
    "ReadTimeout",
    "RemoteProtocolError",
    "RequestException",
    "ResponseNotRead",
    "SSLError",
    "ServerDisconnected",
    "SessionClosed",
    "StreamConsumedError",
    "Timeout",
    "TooManyRedirects",
    "URLRequired",
    "UnrewindableBodyError",
    "WriteTimeout",
]


class RequestException(Exception):
    """The root: ``except aioreq.RequestException`` catches all that aioreq raises on its own account.

    Attributes:
        request: the request being sent, or None.
        response: the response that led to the error, or None.
        sent: bytes of the body that had left for the kernel, or None where no body was under way.
    """

    def __init__(self, message: str = "", *, request: Any = None, response: Any = None, sent: int | None = None):
        super().__init__(message)
        self.request = request
        self.response = response
        self.sent = sent


class URLRequired(RequestException, ValueError):
    """A request has no URL."""


class InvalidURL(RequestException, ValueError):
    """A URL can't be requested: no scheme, no host, a scheme other than http and https, a bad port."""


class InvalidMethod(RequestException, ValueError):
    """A method isn't a token (RFC 9110, section 9.1)."""


class InvalidHeader(RequestException, ValueError):
    """A header's name or value may not go on the wire (RFC 9110, sections 5.1 and 5.5)."""


class AuthenticationError(RequestException):
    """Credentials could not be made or applied, or a challenge could not be answered."""


class HTTPError(RequestException):
    """An answer of 400 or more, from :meth:`aioreq.Response.raise_for_status`."""


class TooManyRedirects(RequestException):
    """More redirects than the session's ``max_redirects``; ``response`` is the last one."""


class ConnectionError(RequestException, OSError):  # noqa: A001 - requests' own name
    """The connection could not be made, or broke."""


class SSLError(ConnectionError):
    """The TLS handshake failed, or a record was broken; a certificate that isn't trusted is here too."""


class ProxyError(ConnectionError):
    """The proxy can't be reached, refused, or could not be understood.

    Attributes:
        status_code: the status that an HTTP proxy refused with, 407 for missing or wrong credentials; else None.
    """

    def __init__(self, message: str = "", *, status_code: int | None = None, **kwargs: Any):
        super().__init__(message, **kwargs)
        self.status_code = status_code


class ExtraRequired(RequestException, ImportError):
    """Something was asked for that needs an optional dependency; the message names the extra to install."""


class RemoteProtocolError(ConnectionError):
    """The server's answer is not HTTP/1.1, or was cut short."""


class ServerDisconnected(RemoteProtocolError):
    """The connection ended before the first byte of an answer."""


class ChunkedEncodingError(RemoteProtocolError):
    """A chunked answer is malformed, or was cut short (RFC 9112, section 7.1)."""


class Timeout(RequestException, TimeoutError):
    """A limit of :class:`aioreq.Timeout` was reached."""


class ConnectTimeout(ConnectionError, Timeout):
    """The connection, TLS handshake included, was not there in time."""


class ReadTimeout(Timeout):
    """The server was silent for too long."""


class WriteTimeout(Timeout):
    """The kernel took no byte of the upload for too long."""


class PoolTimeout(Timeout):
    """No connection became free in time."""


class ContentDecodingError(RequestException):
    """The answer's content coding (gzip, deflate, ...) is broken, or unfolds beyond the allowed size."""


class JSONDecodeError(RequestException, json.JSONDecodeError):
    """The answer is not JSON."""

    def __init__(self, msg: str, doc: str = "", pos: int = 0, *, request: Any = None, response: Any = None):
        json.JSONDecodeError.__init__(self, msg, doc, pos)
        self.request = request
        self.response = response
        self.sent = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.msg, self.doc, self.pos), vars(self)


class StreamConsumedError(RequestException, TypeError):
    """A streamed answer was read a second time."""


class ResponseNotRead(RequestException, RuntimeError):
    """``content``, ``text`` or ``json()`` of a streamed answer that was not read yet."""


class InvalidBody(RequestException, TypeError, ValueError):
    """What was handed in as a body, a field or a file can't be sent; the message says what to pass instead."""


class UnrewindableBodyError(RequestException):
    """The body must go out again, but its source can be read only once and has begun."""


class BodyLengthError(RequestException, ValueError):
    """A source gave fewer or more bytes than were declared."""


class FileChanged(BodyLengthError):
    """A file is shorter than when its size was taken, or was replaced by one of another size.

    Attributes:
        path: the file's name, or None for an open file without one.
        declared: bytes promised to the server.
        seen: bytes the file has now.
    """

    def __init__(self, message: str = "", *, path: str | None = None, declared: int = 0, seen: int = 0, **kwargs: Any):
        super().__init__(message, **kwargs)
        self.path = path
        self.declared = declared
        self.seen = seen


class FileUnreadable(RequestException, OSError, ValueError):
    """A file can't be opened or read. ``errno`` and ``filename`` are the operating system's."""

    def __init__(self, message: str = "", *, cause: OSError | None = None, filename: str | None = None, **kwargs: Any):
        super().__init__(message, **kwargs)
        self.errno = cause.errno if cause else None
        self.filename = filename

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError keeps these two outside of the instance's dict, and would copy them from its args.
        return type(self), self.args, {**vars(self), "errno": self.errno, "filename": self.filename}

    @classmethod
    def from_oserror(cls, cause: OSError, filename: str | None) -> FileUnreadable:
        """The child of this class that fits what the operating system said."""
        kind: type[FileUnreadable] = cls
        for builtin, ours in (
            (FileNotFoundError, FileMissing),
            (NotADirectoryError, FileMissing),
            (PermissionError, FileForbidden),
            (IsADirectoryError, FileIsDirectory),
        ):
            if isinstance(cause, builtin):
                kind = ours
        why = cause.strerror or str(cause)
        if kind is FileMissing and filename is not None and filename.startswith("~"):
            why += " (only a shell knows ~ by itself: use Path.expanduser())"
        return kind(f"can't read {filename!r}: {why}", cause=cause, filename=filename)


class FileMissing(FileUnreadable, FileNotFoundError):
    """There is no such file."""


class FileForbidden(FileUnreadable, builtins.PermissionError):
    """The file may not be read."""


class FileIsDirectory(FileUnreadable, IsADirectoryError):
    """A directory stands where a file was expected."""


class SessionClosed(RequestException, RuntimeError):
    """A call on a session that was closed, or that belongs to another event loop."""
