"""What is said and what was answered: Request, PreparedRequest, Response."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ._body import Body, Bytes, Iteration, Segment, bytes_body
from ._headers import Headers, is_token, version_of
from ._progress import DownloadProgress, Upload, check_callback
from ._threads import READERS
from ._url import Target
from .exceptions import (
    FileUnreadable,
    HTTPError,
    InvalidBody,
    InvalidMethod,
    JSONDecodeError,
    RequestException,
    ResponseNotRead,
    StreamConsumedError,
)

if TYPE_CHECKING:
    import datetime as dt

# A hop to a worker thread for each piece that is written: larger pieces, fewer hops.
_SAVED_AT_ONCE = 1024 * 1024


class Letterhead:
    """What all requests of a session to one host begin with.

    Attributes:
        headers: Host and the session's fields.
        says_length: whether there is something about a body among them.
        text: the same as they go on the wire, once they were checked and written; or None.
    """

    __slots__ = ("headers", "says_length", "text")

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        self.says_length = says_length(headers)
        self.text: str | None = None


def says_length(headers: Headers) -> bool:
    """Whether they say how long a body is, or how its end is told."""
    return "content-length" in headers or "transfer-encoding" in headers


class PreparedRequest:
    """A request as it goes on the wire: nothing is left to decide.

    It can be pickled. A body that is in memory goes along as bytes; any other (a file, an iterator) is left behind.

    Attributes:
        method: the method.
        target: the URL, taken apart.
        headers: all header fields, Host and Content-Length among them.
        body: a description of the body, or None.
        added: the lines of the fields behind its letterhead, each with the end of the line before it.
    """

    __slots__ = ("_letterhead", "_version", "added", "body", "headers", "method", "target")

    def __init__(
        self, method: str, target: Target, headers: Headers, body: Body | None, letterhead: Letterhead | None = None
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self._letterhead = letterhead  # of which the headers are a copy
        # Of the headers, as long as they are the letterhead's and the added ones.
        self._version = -1 if letterhead is None else version_of(headers)
        self.added = ""

    @property
    def letterhead(self) -> Letterhead | None:
        """What its fields are but for those ``added``, as long as nobody has changed them; else None."""
        return self._letterhead if self._version == version_of(self.headers) else None

    def add(self, name: str, value: str) -> None:
        """Put a field behind the others, none of which has its name, which is a token."""
        headers = self.headers
        # Anything else is looked at, and written down, before it leaves.
        is_as_written = self._version == version_of(headers) and value.isascii() and value.isprintable()
        headers.add(name, value)
        if is_as_written:
            self.added += f"\r\n{name}: {value}"
            self._version = version_of(headers)

    def add_framing(self, length: int, content_type: str | None) -> None:
        """Put the fields of a body behind the others, none of which has their names.

        What :meth:`add` does for each, in half of its time for both.
        """
        headers = self.headers
        is_as_written = self._version == version_of(headers)
        written = str(length)
        headers.add("Content-Length", written)
        lines = f"\r\nContent-Length: {written}"
        if content_type is not None:
            is_as_written = is_as_written and content_type.isascii() and content_type.isprintable()
            headers.add("Content-Type", content_type)
            lines += f"\r\nContent-Type: {content_type}"
        if is_as_written:
            self.added += lines
            self._version = version_of(headers)

    @property
    def url(self) -> str:
        """The URL, without user info."""
        return self.target.url

    def copy(self) -> PreparedRequest:
        """A request whose headers can be changed without changing this one's."""
        return PreparedRequest(self.method, self.target, Headers(self.headers), self.body)

    def __reduce__(self) -> tuple[Any, ...]:
        body = self.body
        if body is not None:
            body = bytes_body(body.read_now(), body.content_type) if body.in_memory else None
        return type(self), (self.method, self.target, self.headers, body)

    def __copy__(self) -> PreparedRequest:
        return self.copy()

    def __repr__(self) -> str:
        return f"<PreparedRequest [{self.method}]>"


class Request:
    """A request as the caller thinks of it.

    ``Request(method, url, **fields)``, or ``Request()`` and then the attributes, as in requests 0.2.1.

    Args:
        method: any token; standard names are put into upper case. GET by default.
        url: where it goes.
        headers: a mapping or pairs; None as a value leaves out the session's header of that name.
        params: added to the URL's query: a mapping, pairs, or text.
        data: a mapping or pairs (a form), text, bytes, a path object, a file, an iterable of bytes with a
            Content-Length header, or the ``datagen`` of ``multipart_encode``.
        json: anything ``json.dumps`` takes.
        files: a mapping, pairs, or MultipartParams; ``data`` fields go along in the same form.
        auth: ``(user, password)``, an auth object, or a function of the request.
        cookies: a mapping, for this request only.

    Attributes:
        response: the answer, once it is there; or None.
        sent: whether the final answer was a success (below 400).
    """

    _sender: ClassVar[Callable[[Request], Awaitable[Response]] | None] = None
    # What a session has made of it already, for the next time that it is sent.
    _prepared: PreparedRequest | None = None

    def __init__(
        self,
        method: str = "GET",
        url: str | None = None,
        *,
        headers: Any = None,
        params: Any = None,
        data: Any = None,
        json: Any = None,
        files: Any = None,
        auth: Any = None,
        cookies: Any = None,
    ) -> None:
        self._method = checked_method(method)
        self.url = url
        self.headers = headers
        self.params = params
        self.data = data
        self.json = json
        self.files = files
        self.auth = auth
        self.cookies = cookies
        self.response: Response | None = None
        self.sent = False

    @property
    def method(self) -> str:
        """The method, in upper case.

        Raises:
            InvalidMethod: on assignment of what is not a token.
        """
        return self._method

    @method.setter
    def method(self, name: str) -> None:
        self._method = checked_method(name)

    def __repr__(self) -> str:
        return f"<Request [{self.method}]>"

    async def send(self, anyway: bool = False) -> bool:
        """Send it over the loop's shared session; ``response`` is filled whatever the answer.

        Args:
            anyway: send it again even if it was sent before.

        Returns:
            True when the final answer is a success (below 400) or the request was sent already, else False.

        Raises:
            URLRequired: it has no URL.
            InvalidURL: the URL has no scheme or no host.
            RequestException: there was no answer.
        """
        if self.sent and not anyway:
            return True
        assert Request._sender is not None
        await Request._sender(self)
        return self.sent


_KNOWN_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


def checked_method(name: Any) -> str:
    """The method in upper case.

    Raises:
        InvalidMethod: it is not a token.
    """
    if not isinstance(name, str) or not (name in _KNOWN_METHODS or is_token(name)):
        raise InvalidMethod(f"{name!r} can't be a method: a method is a token such as 'GET' or 'PROPFIND'")
    return name.upper()


_GONE = "the answer was read in pieces or closed before, and is not kept: read it once, inside its block"


class AnswerStream(Protocol):
    """The body of an answer on its way in."""

    async def receive(self) -> bytes:
        """The next bytes, or ``b""`` at the end."""

    async def aclose(self) -> None:
        """Stop: give the connection up if the answer is not whole."""


class _Held:
    """A body that is here already, as a stream."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def receive(self) -> bytes:
        content, self._content = self._content, b""
        return content

    async def aclose(self) -> None:
        self._content = b""


class Response:
    """An answer.

    Attributes:
        status_code: the status.
        reason: the server's words for it, or an empty text.
        headers: its header fields.
        url: where the answer came from, after redirects.
        request: what was sent, its headers as they were sent.
        history: the answers that led here (redirects, challenges), oldest first.
        http_version: ``"HTTP/1.1"`` or ``"HTTP/1.0"``.
        upload: how much of the request's body left (``sent``, ``total``, ``complete``).
    """

    # How most answers are to their end.
    _elapsed = 0.0
    _begun = False
    _encoding: str | None = None
    _trailers: Headers | None = None

    def __init__(
        self,
        status_code: int,
        reason: str,
        headers: Headers,
        http_version: str,
        request: PreparedRequest,
        upload: Upload,
        content: bytes | None = None,
        stream: AnswerStream | None = None,
    ) -> None:
        self.status_code = status_code
        self.reason = reason
        self.headers = headers
        self.http_version = http_version
        self.request = request
        self.upload = upload
        self.history: list[Response] = []
        self.cookies: Any = {}
        self._content = content
        self._stream = stream

    def __getstate__(self) -> dict[str, Any]:
        """For pickling: what is not read yet stays behind, since it is on a connection of this process."""
        return {**vars(self), "_stream": None}

    def __repr__(self) -> str:
        return f"<Response [{self.status_code}]>"

    @property
    def url(self) -> str:
        """Where the answer came from, after redirects."""
        return self.request.url

    @property
    def trailers(self) -> Headers:
        """Fields that came behind a chunked body, once it has been read."""
        if self._trailers is None:
            self._trailers = Headers()
        return self._trailers

    @trailers.setter
    def trailers(self, fields: Headers) -> None:
        self._trailers = fields

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status_code < 400

    @property
    def is_read(self) -> bool:
        """Whether the whole body is here, as ``content``."""
        return self._content is not None

    @property
    def is_redirect(self) -> bool:
        """Whether it points elsewhere and says where."""
        return self.status_code in (301, 302, 303, 307, 308) and "Location" in self.headers

    @property
    def elapsed(self) -> dt.timedelta:
        """From the first byte of the request to the head of the answer."""
        import datetime as dt

        return dt.timedelta(seconds=self._elapsed)

    @property
    def content(self) -> bytes:
        """The body, decoded.

        Raises:
            ResponseNotRead: the answer is streamed and was not read: ``await response.read()``.
            StreamConsumedError: it was read in pieces, and not kept.
        """
        if self._content is None:
            if self._stream is None or self._begun:
                raise StreamConsumedError(_GONE, response=self)
            raise ResponseNotRead("the answer is not read yet: 'await response.read()' first", response=self)
        return self._content

    @property
    def encoding(self) -> str:
        """The body's character encoding; can be set.

        It is the header's charset, else what a byte order mark says, else UTF-8 if the body is valid UTF-8, else what
        charset-normalizer takes it for (the extra ``aioreq[charset]``), else UTF-8.
        """
        if self._encoding is not None:
            return self._encoding
        content = self._content or b""
        encoding = _charset(self.headers) or _charset_of_mark(content) or _detected(content)
        if self._content is not None:  # before it is read there was nothing to look at
            self._encoding = encoding
        return encoding

    @encoding.setter
    def encoding(self, name: str) -> None:
        codecs.lookup(name)
        self._encoding = name

    @property
    def text(self) -> str:
        """The body as text in :attr:`encoding`; bytes that don't fit become U+FFFD."""
        return self.content.decode(self.encoding, errors="replace")

    def json(self, **options: Any) -> Any:
        """The body as JSON (RFC 8259: UTF-8, or what its first bytes say).

        Args:
            **options: for ``json.loads``.

        Raises:
            JSONDecodeError: it is not JSON; the message shows how the body begins.
        """
        try:
            return json.loads(self.content, **options)
        except json.JSONDecodeError as error:
            begins = self.content[:60].decode("utf-8", "replace")
            raise JSONDecodeError(
                f"the answer of {self.url} is not JSON ({error.msg}); it begins {begins!r}",
                error.doc,
                error.pos,
                request=self.request,
                response=self,
            ) from error
        except (ValueError, RecursionError) as error:  # no UTF-8, a number too long, a list too deep
            raise JSONDecodeError(
                f"the answer of {self.url} is not JSON that can be read: {error}", request=self.request, response=self
            ) from error

    @property
    def links(self) -> dict[str, dict[str, str]]:
        """The Link header (RFC 8288) by relation, or by URL where a link has none."""
        return parse_links(", ".join(self.headers.getall("Link", ())))

    def raise_for_status(self) -> Response:
        """Return the response itself, or raise when its status is 400 or more.

        Raises:
            HTTPError: with this response, and the beginning of its body in the message.
        """
        if self.ok:
            return self
        side = "Client" if self.status_code < 500 else "Server"
        begins = (self._content or b"")[:200].decode("utf-8", "replace").strip()
        message = f"{self.status_code} {side} Error: {self.reason} for url: {self.url}"
        raise HTTPError(message + (f": {begins}" if begins else ""), request=self.request, response=self)

    def take_off_coding(
        self, decode: Callable[[bytes], bytes], decoding: Callable[[AnswerStream], AnswerStream]
    ) -> None:
        """Have the body decoded: what is here with ``decode``, what is still to come with ``decoding``."""
        if self._content is not None:
            self._content = decode(self._content)
        elif self._stream is not None:
            self._stream = decoding(self._stream)

    def leave_unread(self) -> None:
        """Behave as if the body were still to come, also where it came along with the head: all streams are alike."""
        if self._content is not None:
            self._stream, self._content = _Held(self._content), None

    async def read_up_to(self, limit: int) -> None:
        """Read the body and keep it if it has at most ``limit`` bytes, else give it up."""
        stream, kept, size = self._stream, [], 0
        if self._content is not None or stream is None:
            return
        while chunk := await stream.receive():
            kept.append(chunk)
            size += len(chunk)
            if size > limit:
                await self.aclose()
                return
        self._stream = None
        self._content = b"".join(kept)

    async def read(self) -> bytes:
        """Read the rest of the body and keep it as ``content``."""
        if self._content is None:
            self._content = b"".join([chunk async for chunk in self.iter_content()])
        return self._content

    async def iter_content(self, size: int | None = None) -> AsyncGenerator[bytes, None]:
        """The body in pieces of ``size`` bytes (the last may be shorter), or as they come.

        Raises:
            ValueError: ``size`` is below 1.
            StreamConsumedError: it was read in pieces before.
            RemoteProtocolError: the server cut it short.
            ReadTimeout: the server was silent for too long.
        """
        if size is not None and size < 1:
            raise ValueError(f"size is a number of bytes, 1 or more, not {size!r}")
        if self._content is not None:
            for start in range(0, len(self._content), size or max(len(self._content), 1)):
                yield self._content[start : start + size if size else None]
            return
        async with contextlib.aclosing(self._chunks()) as chunks:
            if size is None:
                async for chunk in chunks:
                    yield chunk
                return
            held = bytearray()
            async for chunk in chunks:
                held += chunk
                while len(held) >= size:
                    yield bytes(held[:size])
                    del held[:size]
        if held:
            yield bytes(held)

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        stream = self._stream
        if stream is None or self._begun:
            raise StreamConsumedError(_GONE, response=self)
        self._begun = True  # the stream stays, for aclose(): a loop left with break does not end this generator
        try:
            while chunk := await stream.receive():
                yield chunk
        finally:
            self._stream = None
            await stream.aclose()

    async def iter_lines(self) -> AsyncGenerator[str, None]:
        """The body's lines as text, without their ends (CR, LF or CR LF)."""
        decode = io.IncrementalNewlineDecoder(
            codecs.getincrementaldecoder(self.encoding)(errors="replace"), translate=True
        ).decode
        held = ""
        async with contextlib.aclosing(self.iter_content()) as chunks:
            async for chunk in chunks:
                *lines, held = (held + decode(chunk)).split("\n")
                for line in lines:
                    yield line
        *lines, held = (held + decode(b"", final=True)).split("\n")
        for line in lines:
            yield line
        if held:
            yield held

    async def save(
        self, path: str | os.PathLike[str], progress: Callable[[DownloadProgress], object] | None = None
    ) -> int:
        """Write the body to a file, off the event loop; the file appears whole under its name, or not at all.

        Args:
            path: where to; a file that is there is replaced.
            progress: called with a :class:`aioreq.DownloadProgress` as pieces are written; what it raises ends the
                download and is raised here.

        Returns:
            How many bytes were written.

        Raises:
            FileUnreadable: the file can't be written.
            RequestException: the body did not arrive whole.
        """
        import aiofiles
        import aiofiles.os

        check_callback(progress, "a DownloadProgress")
        target = os.fspath(path)
        partial = f"{target}.{os.urandom(4).hex()}.part"
        total = self._declared_length()
        received = 0
        try:
            async with (
                aiofiles.open(partial, "xb", executor=READERS) as file,
                contextlib.aclosing(self.iter_content(_SAVED_AT_ONCE)) as pieces,
            ):
                async for piece in pieces:
                    await file.write(piece)
                    received += len(piece)
                    if progress is not None:
                        progress(DownloadProgress(received, total))
            await aiofiles.os.replace(partial, target, executor=READERS)
        except OSError as error:
            await self._discard(partial)
            if isinstance(error, RequestException):
                raise
            raise FileUnreadable(f"can't write {target!r}: {error.strerror}", cause=error, filename=target) from error
        except BaseException:
            await self._discard(partial)
            raise
        return received

    async def _discard(self, partial: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            await READERS.start(os.unlink, partial)
        await self.aclose()

    def _declared_length(self) -> int | None:
        """Bytes of the body as it will be read, if the server says so."""
        if "Content-Encoding" in self.headers:
            return None
        declared = self.headers.get("Content-Length", "")
        return int(declared) if declared.isascii() and declared.isdigit() else None

    async def aclose(self) -> None:
        """Give up what is not read yet; the connection is closed if the answer is not whole."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()

    def as_segment(self, length: int | None) -> Segment:
        """This answer's body as a part of an upload, read as it arrives."""
        if self._content is not None:
            return Bytes(self._content)
        if length is None:
            length = self._declared_length()
        if length is None:
            raise InvalidBody("the length of this response is not known: 'await response.read()', and pass its content")
        return _AnswerBody(self, length)


class _AnswerBody(Iteration):
    """What is still to come of an answer, as a part of an upload."""

    __slots__ = ("answer",)

    def __init__(self, answer: Response, length: int) -> None:
        super().__init__(answer.iter_content(), length)
        self.answer = answer


_CHARSET = r"""(?i)charset\s*=\s*["']?([^\s"';,]+)"""  # as text: compiled with the first text


def _charset(headers: Headers) -> str | None:
    found = re.search(_CHARSET, headers.get("Content-Type", ""))
    if found is None:
        return None
    try:
        b"\xff".decode(found[1], "replace")  # some codecs make no text, some refuse what is asked
        name = codecs.lookup(found[1]).name
    except (LookupError, ValueError):
        return None
    return None if name == "punycode" else name  # a way to write host names, which from Python 3.13 on takes anything


_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
          (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip


def _charset_of_mark(content: bytes) -> str | None:
    return next((name for mark, name in _MARKS if content.startswith(mark)), None)


def _detected(content: bytes) -> str:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        try:
            from charset_normalizer import from_bytes
        except ModuleNotFoundError:
            return "utf-8"
        best = from_bytes(content).best()
        return best.encoding if best is not None else "utf-8"
    return "utf-8"


# As text: compiled with the first Link header.
_LINK_TARGET = r"<([^<>]*)>"
# A name, and a quoted string or whatever else comes before the next parameter or link; a quoted string that nobody
# closes ends with the header, so that no text is looked at twice.
_LINK_PARAMETER = r"""(?s)\s*;\s*([^\s=;,<"]*)\s*(?:=\s*(?:"((?:[^"\\]|\\.?)*+)(?:"|$)|([^;,]*)))?"""
_QUOTED_PAIR = r"(?s)\\(.)"


def parse_links(header: str) -> dict[str, dict[str, str]]:
    """The links of a Link header (RFC 8288, appendix B.2) by relation, or by URL; of a parameter the first counts."""
    links: dict[str, dict[str, str]] = {}
    targets, parameters = re.compile(_LINK_TARGET), re.compile(_LINK_PARAMETER)
    at = 0
    while target := targets.search(header, at):
        link = {"url": target[1].strip()}
        at = target.end()
        while parameter := parameters.match(header, at):
            at = parameter.end()
            name, quoted, bare = parameter.groups()
            if quoted is not None:
                link.setdefault(name.lower(), re.sub(_QUOTED_PAIR, r"\1", quoted))
            elif bare is not None:
                link.setdefault(name.lower(), bare.strip(" '"))
        links[link.get("rel", link["url"])] = link
    return links


def attach(error: RequestException, request: PreparedRequest) -> None:
    """Say in an error which request it is about, unless it says so already."""
    if error.request is None:
        error.request = request
