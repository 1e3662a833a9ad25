"""aioreq: exact, replayable, observable uploads over HTTP, on asyncio.

response = await aioreq.post("https://example.org/upload", files={"file": pathlib.Path("big.iso")})
"""

from importlib import import_module
from typing import TYPE_CHECKING

from . import exceptions
from ._api import delete, get, head, options, patch, post, put, request, stream
from ._events import AttemptEvent, ConnectionEvent, Hooks, InterimEvent, ResendEvent
from ._headers import Headers
from ._message import PreparedRequest, Request, Response
from ._net.pool import Limits
from ._progress import DownloadProgress, Upload, UploadProgress
from ._rules.auth import Auth, AuthObject, BasicAuth, BearerAuth, DigestAuth, NetrcAuth, add_autoauth
from ._rules.cookies import Cookies
from ._rules.retry import Retry
from ._session import Session
from ._timeout import Timeout
from ._version import __version__
from .exceptions import (
    AuthenticationError,
    BodyLengthError,
    ChunkedEncodingError,
    ConnectionError,
    ConnectTimeout,
    ContentDecodingError,
    ExtraRequired,
    FileChanged,
    FileForbidden,
    FileIsDirectory,
    FileMissing,
    FileUnreadable,
    HTTPError,
    InvalidBody,
    InvalidHeader,
    InvalidMethod,
    InvalidURL,
    JSONDecodeError,
    PoolTimeout,
    ProxyError,
    ReadTimeout,
    RemoteProtocolError,
    RequestException,
    ResponseNotRead,
    ServerDisconnected,
    SessionClosed,
    SSLError,
    StreamConsumedError,
    TooManyRedirects,
    UnrewindableBodyError,
    URLRequired,
    WriteTimeout,
)
from .multipart import MultipartParam, multipart_encode

if TYPE_CHECKING:
    from . import bulk
    from .bulk import bulk_upload

# Timeout is the value that sets limits; the exception of that name is aioreq.exceptions.Timeout.

__all__ = [
    "AttemptEvent",
    "Auth",
    "AuthObject",
    "AuthenticationError",
    "BasicAuth",
    "BearerAuth",
    "BodyLengthError",
    "ChunkedEncodingError",
    "ConnectTimeout",
    "ConnectionError",
    "ConnectionEvent",
    "ContentDecodingError",
    "Cookies",
    "DigestAuth",
    "DownloadProgress",
    "ExtraRequired",
    "FileChanged",
    "FileForbidden",
    "FileIsDirectory",
    "FileMissing",
    "FileUnreadable",
    "HTTPError",
    "Headers",
    "Hooks",
    "InterimEvent",
    "InvalidBody",
    "InvalidHeader",
    "InvalidMethod",
    "InvalidURL",
    "JSONDecodeError",
    "Limits",
    "MultipartParam",
    "NetrcAuth",
    "PoolTimeout",
    "PreparedRequest",
    "ProxyError",
    "ReadTimeout",
    "RemoteProtocolError",
    "Request",
    "RequestException",
    "ResendEvent",
    "Response",
    "ResponseNotRead",
    "Retry",
    "SSLError",
    "ServerDisconnected",
    "Session",
    "SessionClosed",
    "StreamConsumedError",
    "Timeout",
    "TooManyRedirects",
    "URLRequired",
    "UnrewindableBodyError",
    "Upload",
    "UploadProgress",
    "WriteTimeout",
    "__version__",
    "add_autoauth",
    "bulk",
    "bulk_upload",
    "delete",
    "exceptions",
    "get",
    "head",
    "multipart_encode",
    "options",
    "patch",
    "post",
    "put",
    "request",
    "stream",
]

if not TYPE_CHECKING:  # type checkers know the names from above; with this one they would believe in any name

    def __getattr__(name: str) -> object:
        """Bulk uploads are loaded when they are first named: not everybody needs SQLite and half as much code again."""
        if name not in ("bulk", "bulk_upload"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()["bulk_upload"] = import_module(".bulk", __name__).bulk_upload
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
