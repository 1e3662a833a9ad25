"""The session: drives a conversation over the pool."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any, NoReturn, Protocol

from . import _threads, exceptions
from ._events import AttemptEvent, Hooks, log_answer, log_attempt, log_failure
from ._headers import Headers, require_sendable
from ._message import AnswerStream, PreparedRequest, Request, Response, attach
from ._net.connect import Resolver
from ._net.dial import Dialer
from ._net.http1 import Terms
from ._net.pool import Limits, Pool
from ._net.proxy import require_socks
from ._net.transport import Network, Transport, describe
from ._net.trust import check_trust
from ._netrc import Netrc
from ._progress import ProgressCallback, check_callback
from ._rules.auth import as_auth
from ._rules.conversation import (
    Pause,
    Reading,
    Rules,
    Said,
    Step,
    begins_with,
    conversation,
    conversation_after,
    ends_with,
)
from ._rules.cookies import Cookies, checked_cookie, cookie_pairs
from ._rules.decode import DecodedStream, accept_encoding, decode, unfolding
from ._rules.prepare import Defaults, may_block, prepare
from ._rules.proxies import Ways
from ._rules.retry import Retry
from ._threads import READERS
from ._timeout import Timeout
from ._version import __version__
from .exceptions import RequestException, SessionClosed

# What is left of an answer that nobody will read (a redirect's, a challenge's) is read up to here, so that its
# connection can be used again; beyond that a new connection is cheaper.
_WORTH_READING = 64 * 1024

_UNSET: Any = object()


class Instrumentation(Protocol):
    """What watches sessions from within; see :mod:`aioreq.opentelemetry`."""

    def begin(self, session: Session, rules: Rules, terms: Terms) -> None:
        """A call begins: put into its terms what is to see it."""


class Session:
    """Keeps connections, cookies and defaults; use it with ``async with``.

    Args:
        headers: sent with every request: a mapping or pairs; None as a value removes a default.
        params: added to every URL's query; a call's own of the same name replace them, and None leaves one out.
        cookies: a mapping; see :class:`aioreq.Cookies` for where they go.
        auth: ``(user, password)``, an auth object, or a function of the request.
        timeout: a :class:`aioreq.Timeout`, a number of seconds, or None for no limit.
        retry: a :class:`aioreq.Retry`, a number of attempts, or None for one attempt.
        base_url: what relative URLs are appended to.
        max_redirects: how many are followed in one call.
        verify: True for the system's trust, a path to CA certificates, an SSLContext, or False for no check.
        cert: the client's certificate: a path to a PEM file, or (certificate, key[, password]).
        limits: a :class:`aioreq.Limits`.
        unix_socket: the path of a Unix socket that every request goes to, whatever its URL's host.
        proxy: the URL of a proxy that every request goes through: ``http://user:password@host:port``, or one that
            begins with https, socks4, socks4a, socks5 or socks5h (with the extra ``aioreq[socks]``).
        trust_env: whether HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY in the environment choose the proxy where
            neither ``proxy`` nor ``unix_socket`` is given; they are read once, here. And whether requests that nobody
            has given credentials for get those of ``$NETRC`` or ``~/.netrc``, which is read again when it changes.
        local_address: (IP address, port) to connect from; port 0 for any.
        resolver: a function of (host, port), plain or async, that gives the IP addresses of a host (or pairs of
            address and port) instead of the operating system; they are tried in the order of RFC 8305.
        event_hooks: functions by event; see :class:`aioreq.Hooks`.
        transport: what carries requests instead of the network; see :mod:`aioreq.testing`.

    Raises:
        ValueError, TypeError: an argument can't mean anything.
        FileUnreadable: ``verify`` or ``cert`` is the path of nothing.
        ExtraRequired: ``proxy`` speaks SOCKS, and the extra is not installed.
    """

    # Set on one session, or on the class for all that have none of their own.
    _instrumentation: Instrumentation | None = None

    def __init__(
        self,
        *,
        headers: Any = None,
        params: Any = None,
        cookies: Any = None,
        auth: Any = None,
        timeout: Any = _UNSET,
        retry: Any = None,
        base_url: str | None = None,
        max_redirects: int = 30,
        verify: bool | str | os.PathLike[str] | ssl.SSLContext = True,
        cert: Any = None,
        limits: Limits | None = None,
        unix_socket: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        trust_env: bool = True,
        local_address: tuple[str, int] | None = None,
        resolver: Resolver | None = None,
        event_hooks: Mapping[str, Any] | None = None,
        transport: Transport | None = None,
    ) -> None:
        check_trust(verify, cert)
        self._defaults = Defaults(_own_headers(), headers, params, base_url)
        self._timeout = Timeout() if timeout is _UNSET else Timeout.of(timeout)
        _require_settings(max_redirects, limits, resolver, transport)
        self._hooks = Hooks(event_hooks)
        ways = Ways(unix_socket, proxy, dict(os.environ) if trust_env else None)
        self._rules = Rules(
            auth=as_auth(auth),
            cookies=_session_cookies(cookies),
            max_redirects=max_redirects,
            retry=Retry.of(retry),
            netrc=Netrc.of(os.environ) if trust_env else None,
        )
        require_socks(ways.proxy)
        dialer = Dialer(verify, cert, local_address, resolver)
        self._transport = transport or Network(dialer, limits or Limits(), ways)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Session [{'closed' if self._closed else describe(self._transport)}]>"

    @property
    def headers(self) -> Headers:
        """The headers sent with every request; they can be changed."""
        return self._defaults.headers

    @property
    def cookies(self) -> Cookies:
        """The cookies; they can be changed, and replaced by a mapping."""
        return self._rules.cookies

    @cookies.setter
    def cookies(self, cookies: Any) -> None:
        self._rules = self._rules.changed(cookies=_session_cookies(cookies))

    @property
    def pool(self) -> Pool:
        """The connections, to look at (``open``, ``idle``, ``waiting``).

        Raises:
            AttributeError: the session has a transport of another kind.
        """
        if not isinstance(self._transport, Network):
            raise AttributeError("this session has no pool: its requests don't go over the network")
        return self._transport.pool

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    # --- life

    async def __aenter__(self) -> Session:
        self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __enter__(self) -> NoReturn:
        raise TypeError("a Session is asynchronous: write 'async with aioreq.Session() as session:'")

    def __exit__(self, *_: object) -> None:
        """Never reached: ``__enter__`` raises."""

    def _begin(self) -> None:
        """Belong to the running loop, from the first use on."""
        loop = asyncio.get_running_loop()
        if self._closed:
            raise SessionClosed("the session is closed: make a new one")
        if self._loop is None:
            self._loop = loop
            _threads.hold()
        elif self._loop is not loop:
            raise SessionClosed("the session belongs to another event loop: make one for each")

    async def aclose(self) -> None:
        """Close all connections, those in use too. Closing twice is fine.

        Raises:
            SessionClosed: it was used in another event loop, where its connections are.
        """
        if self._closed:
            return
        self._closed = True
        if self._loop is None:
            return
        try:
            if self._loop is not asyncio.get_running_loop():
                raise SessionClosed("the session belongs to another event loop: close it there, before that ends")
            await self._transport.aclose()
        finally:
            _threads.release()

    # --- verbs

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Any = None,
        data: Any = None,
        json: Any = None,
        files: Any = None,
        headers: Any = None,
        cookies: Any = None,
        auth: Any = None,
        **options: Any,
    ) -> Response:
        """Send a request and read the whole answer.

        Args:
            method: any token.
            url: where to; relative to the session's ``base_url`` if there is one.
            params: see :class:`aioreq.Request`, here and below.
            data: the body, or the fields of a form.
            json: a body made with ``json.dumps``.
            files: files of a form.
            headers: put over the session's.
            cookies: for this call only.
            auth: for this call only.
            **options: see :meth:`send`.

        Raises:
            ValueError: the request can't be sent as it is; nothing has left.
            RequestException: there was no answer.
        """
        request = Request(method, url)
        # With a class, arguments by name are made a dict first: all of these cost a small request a hundredth that way.
        request.params, request.headers = params, headers
        request.data, request.json, request.files = data, json, files
        request.cookies, request.auth = cookies, auth
        _check_options(options)
        return await self.send(request, **options)

    async def get(
        self, url: str, params: Any = None, headers: Any = None, auth: Any = None, **options: Any
    ) -> Response:
        """GET; see :meth:`request`."""
        return await self.request("GET", url, params=params, headers=headers, auth=auth, **options)

    async def head(
        self, url: str, params: Any = None, headers: Any = None, auth: Any = None, **options: Any
    ) -> Response:
        """HEAD; see :meth:`request`."""
        return await self.request("HEAD", url, params=params, headers=headers, auth=auth, **options)

    async def post(
        self, url: str, data: Any = None, headers: Any = None, files: Any = None, auth: Any = None, **options: Any
    ) -> Response:
        """POST; see :meth:`request`."""
        return await self.request("POST", url, data=data, headers=headers, files=files, auth=auth, **options)

    async def put(
        self, url: str, data: Any = None, headers: Any = None, files: Any = None, auth: Any = None, **options: Any
    ) -> Response:
        """PUT; see :meth:`request`."""
        return await self.request("PUT", url, data=data, headers=headers, files=files, auth=auth, **options)

    async def patch(
        self, url: str, data: Any = None, headers: Any = None, files: Any = None, auth: Any = None, **options: Any
    ) -> Response:
        """PATCH; see :meth:`request`."""
        return await self.request("PATCH", url, data=data, headers=headers, files=files, auth=auth, **options)

    async def delete(
        self, url: str, params: Any = None, headers: Any = None, auth: Any = None, **options: Any
    ) -> Response:
        """DELETE; see :meth:`request`."""
        return await self.request("DELETE", url, params=params, headers=headers, auth=auth, **options)

    async def options(
        self, url: str, params: Any = None, headers: Any = None, auth: Any = None, **options: Any
    ) -> Response:
        """OPTIONS; see :meth:`request`."""
        return await self.request("OPTIONS", url, params=params, headers=headers, auth=auth, **options)

    @contextlib.asynccontextmanager
    async def stream(self, method: str, url: str, **options: Any) -> AsyncIterator[Response]:
        """``async with session.stream("GET", url) as response:``: the body is not read yet.

        What is not read when the block ends is given up, and its connection closed.

        Args:
            method: any token.
            url: where to.
            **options: all that :meth:`request` takes.

        Raises:
            ValueError, RequestException: as with :meth:`request`, on the way into the block.
        """
        response = await self.request(method, url, stream=True, **options)
        try:
            yield response
        finally:
            await response.aclose()

    async def send(
        self,
        request: Request,
        *,
        timeout: Any = _UNSET,
        allow_redirects: bool = True,
        progress: ProgressCallback | None = None,
        expect_continue: bool | None = None,
        retry: Any = _UNSET,
        stream: bool = False,
    ) -> Response:
        """Send a request; its ``response`` and ``sent`` are filled.

        Args:
            request: it can be sent any number of times, as far as its body can.
            timeout: instead of the session's.
            allow_redirects: whether redirects are followed.
            progress: called with an :class:`aioreq.UploadProgress` as bytes of the body leave for the kernel; what
                it raises ends the upload and is raised here.
            expect_continue: whether the body waits for the server's "100 Continue", for one second at most; by
                default only a body that can't be sent twice does.
            retry: instead of the session's.
            stream: leave the answer's body unread; ``read()`` or ``aclose()`` must follow.

        Raises:
            ValueError: the request can't be sent as it is; nothing has left.
            RequestException: there was no answer.
        """
        if self._closed or self._loop is not asyncio.get_running_loop():
            self._begin()
        if not isinstance(request, Request):
            raise TypeError(f"send() sends an aioreq.Request, not {type(request).__name__}: for a URL there is get()")
        if progress is not None:
            check_callback(progress, "an UploadProgress")
        limits = self._timeout if timeout is _UNSET else Timeout.of(timeout)
        rules = self._rules
        other_retry = retry is not _UNSET and retry is not rules.retry
        if request.auth is not None or request.cookies is not None or other_retry or not allow_redirects:
            rules = rules.changed(
                auth=as_auth(request.auth) or rules.auth,
                call_cookies=_call_cookies(request.cookies),
                allow_redirects=allow_redirects,
                retry=rules.retry if retry is _UNSET else Retry.of(retry),
            )
        if rules.netrc is not None and rules.netrc.due:
            await READERS.start(rules.netrc.read)
        prepared = None if request._prepared is None else self._made_ahead(request)  # noqa: SLF001
        if prepared is None:
            if (request.data is not None or request.files is not None) and may_block(request):
                prepared = await READERS.start(prepare, request, self._defaults, expect_continue)
            else:
                prepared = prepare(request, self._defaults, expect_continue, progress is not None)
        terms = Terms(limits, progress, self._hooks, stream)
        if self._instrumentation is not None:
            self._instrumentation.begin(self, rules, terms)
        request.sent = False
        request.response = None
        if limits.total is None:
            response = await self._converse(prepared, rules, terms)
        else:
            response = await self._within(limits.total, self._converse(prepared, rules, terms), terms)
        request.response = response
        request.sent = response.ok
        return response

    def _made_ahead(self, request: Request) -> PreparedRequest | None:
        """What :func:`prepare_ahead` has made, for one use, if it would be made the same way now."""
        prepared, request._prepared = request._prepared, None  # noqa: SLF001
        return prepared if prepared is not None and self._defaults.hold_for(prepared) else None

    async def _within(self, seconds: float, call: Any, terms: Terms) -> Response:
        try:
            async with asyncio.timeout(seconds) as limit:
                terms.limit = limit
                response: Response = await call
                return response
        except TimeoutError as error:
            if isinstance(error, RequestException) or not limit.expired():
                raise
            raise exceptions.Timeout(
                f"the call took longer than {seconds:g} seconds in all",
                request=terms.request,
                sent=None if terms.upload is None else terms.upload.sent,
            ) from error

    # --- driving

    async def _converse(self, request: PreparedRequest, rules: Rules, terms: Terms) -> Response:
        """Do what the conversation says until it is over."""
        talk: Step | None = None
        step: PreparedRequest | Response = request
        if not begins_with(request, rules):
            talk = conversation(request, rules)
            step = await self._go_on(talk, _next_step(talk, None))
        while isinstance(step, PreparedRequest):
            try:
                response = await self._exchange(step, terms)
            except RequestException as error:
                talk = talk or conversation_after(request, rules)
                step = await self._go_on(talk, _next_step(talk, error))
                continue
            if talk is None:
                if ends_with(response, rules):
                    step = response
                    break
                talk = conversation_after(request, rules)
            step = await self._react(talk, response)
        if terms.stream:
            step.leave_unread()
        elif not step.is_read:
            await step.read()
        return step

    async def _react(self, talk: Step, response: Response) -> PreparedRequest | Response:
        """What comes after an answer; one that leads to an error is given up."""
        try:
            step = _next_step(talk, response)
            while isinstance(step, Reading):  # before the answer is done with
                await self._prepare_to_go_on(step)
                step = _next_step(talk, None)
        except BaseException as error:
            _say_what_led_to(error, response)
            await response.aclose()
            raise
        if not isinstance(step, Response):
            await _dispose(response)
        return await self._go_on(talk, step)

    async def _go_on(self, talk: Step, step: Said | Response) -> PreparedRequest | Response:
        """Do what is to be done before the next request."""
        while isinstance(step, (Pause, Reading)):
            await self._prepare_to_go_on(step)
            step = _next_step(talk, None)
        return step

    async def _prepare_to_go_on(self, step: Pause | Reading) -> None:
        """What the conversation wants done before it goes on: time to pass, or a file to be read off the loop."""
        if isinstance(step, Pause):
            await self._pause(step)
        elif step.file.due:
            await READERS.start(step.file.read)

    async def _exchange(self, request: PreparedRequest, terms: Terms) -> Response:
        """One request and its answer, decoded; a success is read to its end, unless it is streamed."""
        terms.request, terms.upload = request, None
        if request.body is not None:
            request.body.require_fresh()
        if "request" in self._hooks:
            await self._hooks.tell("request", request)
        try:
            if (letterhead := request.letterhead) is None or letterhead.text is None:
                require_sendable(request.headers)
            if terms.around is None:
                response = await self._transport.exchange(request, terms)
            else:
                response = await terms.around(self._transport.exchange, request, terms)
            if "content-encoding" in response.headers:  # found in half of the time if written this way
                _decode(response)
        except RequestException as error:
            attach(error, request)
            log_failure(request, error)
            raise
        finally:
            if request.body is not None:
                terms.attempt += 1
        log_answer(request, response)
        if "response" in self._hooks:
            await self._tell_of(response)
        if response.status_code < 300 and not response.is_read and not terms.stream:
            await response.read()  # here, so that an answer that is cut short can be tried again
        return response

    async def _tell_of(self, response: Response) -> None:
        try:
            await self._hooks.tell("response", response)
        except BaseException:
            await response.aclose()
            raise

    async def _pause(self, pause: Pause) -> None:
        event = AttemptEvent(pause.request, pause.attempt, pause.seconds, pause.error, pause.response)
        log_attempt(event)
        await self._hooks.tell("attempt", event)
        await asyncio.sleep(pause.seconds)


def prepare_ahead(session: Session, request: Request, expect_continue: bool | None = None) -> None:
    """Do what ``session.send(request)`` would begin with, if its body needs no looking for its size.

    For many at a time that takes half as long as for one now and then, between which other code runs.

    Args:
        session: what it will be sent over.
        request: is not changed before that.
        expect_continue: see :meth:`Session.send`.

    Raises:
        ValueError: it can't be sent as it is.
    """
    request._prepared = prepare(request, session._defaults, expect_continue, watched=False)  # noqa: SLF001


def _next_step(talk: Step, said: Response | RequestException | None) -> Said | Response:
    """What the conversation wants next, or the final answer.

    Args:
        talk: the conversation.
        said: what came of the last request; None where there was none, or something else was done.
    """
    try:
        if said is None:
            return next(talk)
        return talk.throw(said) if isinstance(said, RequestException) else talk.send(said)
    except StopIteration as end:
        final: Response = end.value
        return final


def _require_settings(max_redirects: Any, limits: Any, resolver: Any, transport: Any) -> None:
    if not isinstance(max_redirects, int) or isinstance(max_redirects, bool) or max_redirects < 0:
        raise ValueError(f"max_redirects={max_redirects!r} is not a number of redirects, 0 or more")
    if limits is not None and not isinstance(limits, Limits):
        raise TypeError(f"limits= is an aioreq.Limits, not {type(limits).__name__}")
    if resolver is not None and not callable(resolver):
        raise TypeError(f"resolver= is a function of a host and a port, not {type(resolver).__name__}")
    if transport is not None and not callable(getattr(transport, "exchange", None)):
        raise TypeError(f"transport= is a MockTransport, an ASGITransport or alike, not {type(transport).__name__}")


_CALL_OPTIONS = {"timeout", "allow_redirects", "progress", "expect_continue", "retry", "stream"}
# What other clients take with each call, and what it is here.
_ELSEWHERE = {
    "proxies": "aioreq.Session(proxy=...)",
    "hooks": "aioreq.Session(event_hooks=...)",
    "ssl": "aioreq.Session(verify=...)",
    "follow_redirects": "allow_redirects=",
    "content": "data=",
    "body": "data=",
    "file": "files=",
    "header": "headers=",
    "expect100": "expect_continue=",
}


def _check_options(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in _CALL_OPTIONS:
            raise TypeError(f"a call has no option {name!r}{_instead_of(name)}")


def _instead_of(name: str) -> str:
    if name in _ELSEWHERE:
        return f": use {_ELSEWHERE[name]}"
    if name in inspect.signature(Session).parameters:
        return f": use aioreq.Session({name}=...)"
    return f"; there are {', '.join(sorted(_CALL_OPTIONS))}"


def _own_headers() -> Headers:
    return Headers({"User-Agent": f"aioreq/{__version__}", "Accept": "*/*", "Accept-Encoding": accept_encoding()})


def _decode(response: Response) -> None:
    """Take the content coding off, at once or as the body arrives."""
    coding: str = response.headers["Content-Encoding"]
    response.take_off_coding(lambda content: decode(content, coding), lambda stream: _decoding(stream, coding))


def _decoding(stream: AnswerStream, coding: str) -> AnswerStream:
    steps = unfolding(coding)
    return stream if steps is None else DecodedStream(stream, steps)


def _say_what_led_to(error: BaseException, response: Response) -> None:
    if isinstance(error, RequestException):
        attach(error, response.request)
        error.response = error.response or response


async def _dispose(response: Response) -> None:
    """Be done with an answer that leads to another request, and have its connection back if that is cheap.

    Its body is kept if it is small. What goes wrong here does not matter any more: the answer has been acted on.
    """
    try:
        await response.read_up_to(_WORTH_READING)
    except RequestException:
        await response.aclose()


def _session_cookies(cookies: Any) -> Cookies:
    return cookies if isinstance(cookies, Cookies) else Cookies(cookies)


def _call_cookies(cookies: Any) -> dict[str, str]:
    if cookies is None:
        return {}
    return {name: checked_cookie(name, value) for name, value in cookie_pairs(cookies)}
