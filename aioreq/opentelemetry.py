"""Traces and metrics of requests with OpenTelemetry (the extra ``aioreq[opentelemetry]``).

    import aioreq.opentelemetry

    aioreq.opentelemetry.instrument()

Names and meanings are those of the semantic conventions for HTTP, "client spans" and "client metrics", stable since
1.23. Each request that goes out is a span: a redirect, an answer to a challenge and a retry are spans of their own,
with ``http.request.resend_count``, beside each other under the span that was current when the call was made. Its
context goes out in the request's headers, by the global propagator, and is current while the request is under way.

A span ends when the call is done with the answer: behind its body, or, where the call leaves the body to be streamed,
behind its head. The conventions allow both. With the body, what cuts an answer short is part of the span, and so is
the rest of an upload whose answer came early; a body that is streamed is read when the caller likes, or never, and a
span that waits for it would tell of the caller instead of the request.

No secret gets into an attribute. User and password in a URL and the values of parameters that sign or open something
are replaced, as are headers with credentials; messages of errors, which may show a URL, are left out.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from time import perf_counter_ns, time_ns
from typing import Any, ClassVar
from urllib.parse import unquote_plus
from weakref import WeakSet

from . import exceptions
from ._events import ConnectionEvent, ResendEvent
from ._headers import Headers, require_sendable
from ._message import AnswerStream, PreparedRequest, Response
from ._net.http1 import Carry, Terms
from ._rules.conversation import Rules
from ._rules.route import Route
from ._session import Session
from ._url import Target
from ._version import __version__

try:
    from opentelemetry import context, metrics, propagate, trace
    from opentelemetry.context import _SUPPRESS_HTTP_INSTRUMENTATION_KEY, _SUPPRESS_INSTRUMENTATION_KEY
except ModuleNotFoundError as missing:
    raise exceptions.ExtraRequired(
        "aioreq.opentelemetry needs opentelemetry-api: pip install 'aioreq[opentelemetry]'"
    ) from missing

__all__ = ["instrument", "uninstrument"]

RequestHook = Callable[[trace.Span, PreparedRequest], Any]
ResponseHook = Callable[[trace.Span, PreparedRequest, Response], Any]
Attributes = dict[str, Any]

# Set in the context by whoever wants no HTTP requests recorded, or nothing at all; the last is an older name.
_SUPPRESSING_KEYS = (_SUPPRESS_HTTP_INSTRUMENTATION_KEY, _SUPPRESS_INSTRUMENTATION_KEY, "suppress_instrumentation")

_SCHEMA = "https://opentelemetry.io/schemas/1.23.1"

# The methods of RFC 9110, PATCH (RFC 5789) and QUERY. Others could be anything: they would be names without number.
_KNOWN_METHODS = "CONNECT,DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT,QUERY,TRACE"

# Advised by the conventions: seconds.
_DURATION_BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

# Parameters and fields whose values are secrets, in lower case: those that the conventions name (signed URLs of Amazon,
# Azure and Google), and what goes by these names elsewhere.
_SECRETS = frozenset((
    "awsaccesskeyid", "signature", "sig", "x-goog-signature", "x-amz-signature", "x-amz-credential",
    "x-amz-security-token", "x-goog-credential", "access_token", "refresh_token", "id_token", "token", "auth",
    "authorization", "api_key", "api-key", "apikey", "key", "client_secret", "secret", "password", "passwd", "jwt",
    "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token", "x-csrf-token",
))  # fmt: skip
_PARAM = re.compile(r"([?&;#])([^=?&;#]*)=([^&;#]*)")
_REDACTED = "REDACTED"


def instrument(
    session: Session | None = None,
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
    request_hook: RequestHook | None = None,
    response_hook: ResponseHook | None = None,
    capture_request_headers: Iterable[str] = (),
    capture_response_headers: Iterable[str] = (),
    capture_user_agent: bool = False,
    redact: Iterable[str] = (),
) -> None:
    """Have the requests of one session, or of all sessions, traced and measured from the next call on.

    A session that was instrumented by itself goes by that; doing it again takes the place of what was before.

    Args:
        session: the session; None for all that there are and will be, the one behind ``aioreq.get`` among them.
        tracer_provider: what makes the spans, instead of the global one.
        meter_provider: what makes the instruments, instead of the global one.
        request_hook: called with each span that is recorded and its PreparedRequest before that goes out; plain or
            async. It may rename the span and give it attributes. What it raises ends the call, as with
            :class:`aioreq.Hooks`.
        response_hook: called with the span, its PreparedRequest and the Response when its head is there; plain or
            async.
        capture_request_headers: names of header fields that become ``http.request.header.<name>``. Those that hold
            credentials say only ``REDACTED``.
        capture_response_headers: names of header fields that become ``http.response.header.<name>``.
        capture_user_agent: whether ``user_agent.original`` is among the attributes.
        redact: names of query parameters and header fields whose values are secrets, beside those known to be.

    The known methods can be given, as the conventions want it, in the environment's
    ``OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS``, with commas between them.
    """
    owner = Session if session is None else session
    owner._instrumentation = _Instrumentation(  # noqa: SLF001 - a session can't know of this room
        _Instruments(metrics.get_meter("aioreq", __version__, meter_provider, _SCHEMA), meter_provider),
        _Descriptions(
            frozenset(os.environ.get("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", _KNOWN_METHODS).split(",")),
            tuple(name.lower() for name in capture_request_headers),
            tuple(name.lower() for name in capture_response_headers),
            capture_user_agent,
            _SECRETS.union(name.lower() for name in redact),
        ),
        trace.get_tracer("aioreq", __version__, tracer_provider, _SCHEMA),
        request_hook,
        response_hook,
    )


def uninstrument(session: Session | None = None) -> None:
    """Undo :func:`instrument`, from the next call on.

    Args:
        session: this session is left alone from now on, also where all others are instrumented; None undoes what was
            done for all sessions, and leaves those alone that were instrumented one by one.
    """
    owner = Session if session is None else session
    owner._instrumentation = None  # noqa: SLF001


class _Descriptions:
    """Requests and answers as attributes.

    Args:
        known_methods: what ``http.request.method`` may say.
        request_fields, response_fields: header fields to show, in lower case.
        user_agent: whether to show it.
        secrets: parameters and fields whose values are not shown, in lower case.
    """

    def __init__(
        self,
        known_methods: frozenset[str],
        request_fields: tuple[str, ...],
        response_fields: tuple[str, ...],
        user_agent: bool,
        secrets: frozenset[str],
    ) -> None:
        self._known_methods = known_methods
        self._request_fields = request_fields
        self._response_fields = response_fields
        self._user_agent = user_agent
        self._secrets = secrets

    def where(self, request: PreparedRequest) -> Attributes:
        """What spans and metrics have in common."""
        _, host, port = request.target.origin
        method = request.method if request.method in self._known_methods else "_OTHER"
        return {"http.request.method": method, "server.address": host, "server.port": port}

    def request(self, request: PreparedRequest) -> Attributes:
        """What only spans say of a request."""
        attributes: Attributes = {"url.full": self._url(request.target)}
        if request.method not in self._known_methods:
            attributes["http.request.method_original"] = request.method
        if self._user_agent and "User-Agent" in request.headers:
            attributes["user_agent.original"] = request.headers["User-Agent"]
        return attributes | self._fields("request", self._request_fields, request.headers)

    def response(self, response: Response) -> Attributes:
        """What only spans say of an answer."""
        return self._fields("response", self._response_fields, response.headers)

    def _url(self, target: Target) -> str:
        url = target.url
        if target.credentials is not None:
            scheme, mark, rest = url.partition("://")
            url = f"{scheme}{mark}{_REDACTED}:{_REDACTED}@{rest}"
        return self._without_secrets(url)

    def _without_secrets(self, text: str) -> str:
        """A URL, or a field that may hold one, with the values of secret parameters replaced."""
        return _PARAM.sub(self._shown, text)

    def _shown(self, param: re.Match[str]) -> str:
        mark, name, _ = param.groups()
        return f"{mark}{name}={_REDACTED}" if unquote_plus(name).lower() in self._secrets else param[0]

    def _fields(self, side: str, names: tuple[str, ...], headers: Headers) -> Attributes:
        return {
            f"http.{side}.header.{name}": [
                _REDACTED if name in self._secrets else self._without_secrets(value) for value in headers.getall(name)
            ]
            for name in names
            if name in headers
        }


class _Instruments:
    """What measures.

    Args:
        meter: makes the instruments.
        provider: what the caller gave for it.

    Attributes:
        provider: the same; connections of sessions with the same one are counted together, once.
    """

    # For the number of connections, which is asked for from a thread of the reader's.
    _seen: ClassVar[WeakSet[Session]] = WeakSet()
    _seen_lock: ClassVar = threading.Lock()

    def __init__(self, meter: metrics.Meter, provider: metrics.MeterProvider | None) -> None:
        self.provider = provider
        self.duration = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_DURATION_BOUNDARIES,
        )
        self.sent = meter.create_histogram(
            "http.client.request.body.size", unit="By", description="Size of HTTP client request bodies."
        )
        self.received = meter.create_histogram(
            "http.client.response.body.size", unit="By", description="Size of HTTP client response bodies."
        )
        self.active = meter.create_up_down_counter(
            "http.client.active_requests", unit="{request}", description="Number of active HTTP requests."
        )
        # The conventions let the asynchronous kind stand in for the other. It costs requests nothing.
        meter.create_observable_up_down_counter(
            "http.client.open_connections",
            [self._count_connections],
            unit="{connection}",
            description="Number of outbound HTTP connections that are currently active or idle on the client.",
        )

    def see(self, session: Session) -> None:
        """Count this session's connections too."""
        if session not in self._seen:
            with self._seen_lock:
                self._seen.add(session)

    def _count_connections(self, _options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        with self._seen_lock:
            sessions = list(self._seen)
        counts: Counter[tuple[str, int, str]] = Counter()
        for session in sessions:
            pool = getattr(session, "pool", None)
            if pool is None or not self._are_in(session._instrumentation):  # noqa: SLF001
                continue
            for route, number, idle in pool.census():
                counts[*_end_of(route), "active"] += number - idle
                counts[*_end_of(route), "idle"] += idle
        for (host, port, state), count in counts.items():
            yield metrics.Observation(
                count, {"http.connection.state": state, "server.address": host, "server.port": port}
            )

    def _are_in(self, instrumentation: Any) -> bool:
        """Whether it measures with these, or with others of the same names and provider, which are these."""
        return isinstance(instrumentation, _Instrumentation) and instrumentation.instruments.provider is self.provider


def _end_of(route: Route) -> tuple[str, int]:
    """Host and port of the server, or of a proxy that serves for all."""
    if route.origin is None:
        assert route.proxy is not None
        return route.proxy.host, route.proxy.port
    return route.origin[1:]


class _Attempt:
    """A request on its way, from before its connection until its span ends, and then the rest of its answer.

    Args:
        instruments: what measures.
        descriptions: what describes.
        tracer: makes the span.
        request: what goes out.
        terms: those of its call.
        resends: how many requests of the call went before.

    Attributes:
        span: its span.
        context: the context that the span is current in.
    """

    def __init__(
        self,
        instruments: _Instruments,
        descriptions: _Descriptions,
        tracer: trace.Tracer,
        request: PreparedRequest,
        terms: Terms,
        resends: int,
    ) -> None:
        self._instruments = instruments
        self._descriptions = descriptions
        self._terms = terms
        self._has_body = request.body is not None
        self._response: Response | None = None
        self._ended = self._is_read = False
        self._where = descriptions.where(request)
        self._outcome: Attributes = {}
        attributes = self._where | descriptions.request(request)
        if resends:
            attributes["http.request.resend_count"] = resends
        method = self._where["http.request.method"]
        self._began, self._clock = time_ns(), perf_counter_ns()
        self.span = tracer.start_span(
            "HTTP" if method == "_OTHER" else method,
            kind=trace.SpanKind.CLIENT,
            attributes=attributes,
            start_time=self._began,
        )
        self.context = trace.set_span_in_context(self.span)
        self._before = context.attach(self.context)
        instruments.active.add(1, self._where)

    def leave(self) -> None:
        """The span is not current any more."""
        context.detach(self._before)

    def connected(self, event: ConnectionEvent) -> None:
        """The request has its connection."""
        if isinstance(event.remote, tuple):
            self.span.set_attributes({"network.peer.address": event.remote[0], "network.peer.port": event.remote[1]})
        elif event.remote:  # the path of a Unix socket; one without a name has none
            self.span.set_attribute("network.peer.address", os.fsdecode(event.remote))

    def answered(self, response: Response) -> None:
        """The head of the answer is there."""
        self._response = response
        self._outcome["http.response.status_code"] = response.status_code
        self._outcome["network.protocol.version"] = response.http_version.removeprefix("HTTP/")
        self.span.set_attributes(self._outcome | self._descriptions.response(response))

    def failed(self, error: BaseException) -> None:
        """It has ended with an error."""
        # A proxy that refuses has answered; the error is all that tells.
        if self._response is None and isinstance(response := getattr(error, "response", None), Response):
            self.answered(response)
        limit = self._terms.limit
        if isinstance(error, asyncio.CancelledError) and limit is not None and limit.expired():
            self.end(_name_of(exceptions.Timeout))  # what becomes of the cancellation on its way to the caller
        else:
            self.end(_name_of(type(error)))

    def end(self, error: str | None = None) -> None:
        """It is over, well or with the error of this type; what comes later makes no difference.

        Span and metric last equally long, on a clock that is never set.
        """
        if self._ended:
            return
        self._ended = True
        took = perf_counter_ns() - self._clock
        if error is None and self._response is not None and self._response.status_code >= 400:
            error = str(self._response.status_code)
        if error is not None:
            self._outcome["error.type"] = error
            self.span.set_attribute("error.type", error)
            self.span.set_status(trace.StatusCode.ERROR)
        self._tell_of_body()
        self.span.end(self._began + took)
        self._instruments.active.add(-1, self._where)
        self._instruments.duration.record(took / 1e9, self._where | self._outcome, self.context)

    def _tell_of_body(self) -> None:
        upload = self._terms.upload if self._response is None else self._response.upload
        if self._has_body and upload is not None:
            self.span.set_attribute("http.request.body.size", upload.sent)
            self._instruments.sent.record(upload.sent, self._where | self._outcome, self.context)

    def read(self, size: int) -> None:
        """So much of the answer's body has come, and no more will."""
        if not self._is_read:
            self._is_read = True
            self._instruments.received.record(size, self._where | self._outcome, self.context)


def _name_of(error: type[BaseException]) -> str:
    return error.__qualname__ if error.__module__ == "builtins" else f"{error.__module__}.{error.__qualname__}"


class _Incoming:
    """The body of an answer on its way in, as it is on the wire."""

    def __init__(self, stream: AnswerStream, attempt: _Attempt) -> None:
        self._stream = stream
        self._attempt = attempt
        self._size = 0

    async def receive(self) -> bytes:
        """The next bytes."""
        try:
            chunk = await self._stream.receive()
        except BaseException as error:
            self._attempt.failed(error)
            self._attempt.read(self._size)
            raise
        self._size += len(chunk)
        if not chunk:
            self._over()
        return chunk

    async def aclose(self) -> None:
        """Give up what is left."""
        try:
            await self._stream.aclose()
        finally:
            self._over()

    def _over(self) -> None:
        self._attempt.end()
        self._attempt.read(self._size)


class _Call:
    """One call: its requests, one after the other.

    Args:
        begin: makes the next attempt, of a request and the number of those before.
        rules: those that the call goes by.
        stream: whether the body of its answer is left to the caller.
        request_hook, response_hook: the caller's.
    """

    def __init__(
        self,
        begin: Callable[[PreparedRequest, int], _Attempt],
        rules: Rules,
        stream: bool,
        request_hook: RequestHook | None,
        response_hook: ResponseHook | None,
    ) -> None:
        self._begin = begin
        self._rules = rules
        self._stream = stream
        self._request_hook = request_hook
        self._response_hook = response_hook
        self._attempts = 0
        self._redirects = 0

    async def exchange(self, carry: Carry, request: PreparedRequest, terms: Terms) -> Response:
        """Have a request carried out and its answer brought."""
        self._next(request)
        try:
            await self._send_off(request)
            response = await carry(request, terms)
            await self._take_in(request, response)
        except BaseException as error:
            self._attempt.failed(error)
            raise
        finally:
            self._attempt.leave()
        self._watch(response)
        return response

    def _next(self, request: PreparedRequest) -> None:
        self._attempt = self._begin(request, self._attempts)
        self._attempts += 1

    async def _send_off(self, request: PreparedRequest) -> None:
        propagate.inject(request.headers, self._attempt.context)
        await self._run(self._request_hook, request)
        require_sendable(request.headers)

    async def _take_in(self, request: PreparedRequest, response: Response) -> None:
        self._attempt.answered(response)
        try:
            await self._run(self._response_hook, request, response)
        except BaseException:
            await response.aclose()
            raise

    async def _run(self, hook: Callable[..., Any] | None, *arguments: Any) -> None:
        if hook is not None and self._attempt.span.is_recording():
            result = hook(self._attempt.span, *arguments)
            if inspect.isawaitable(result):
                await result

    def connected(self, event: ConnectionEvent) -> None:
        """See :class:`aioreq.Hooks`."""
        self._attempt.connected(event)

    async def resent(self, event: ResendEvent) -> None:
        """See :class:`aioreq.Hooks`: this attempt has failed, and the next begins, within one ``exchange``."""
        self._attempt.failed(event.error)
        self._attempt.leave()
        self._next(event.request)
        await self._send_off(event.request)

    def _watch(self, response: Response) -> None:
        """End the attempt's span now or with the answer's body, whose bytes are counted as they are on the wire."""
        attempt = self._attempt
        if self._is_a_redirect_too_many(response):
            attempt.end(_name_of(exceptions.TooManyRedirects))
        elif self._stream:
            attempt.end()

        def whole(content: bytes) -> bytes:
            attempt.end()
            attempt.read(len(content))
            return content

        response.take_off_coding(whole, lambda stream: _Incoming(stream, attempt))

    def _is_a_redirect_too_many(self, response: Response) -> bool:
        """Whether the call will end with TooManyRedirects, when the span has ended."""
        if not self._rules.allow_redirects or not response.is_redirect:
            return False
        self._redirects += 1
        return self._redirects > self._rules.max_redirects


class _Instrumentation:
    """What one call of :func:`instrument` has set up; see :class:`aioreq._session.Instrumentation`."""

    def __init__(
        self,
        instruments: _Instruments,
        descriptions: _Descriptions,
        tracer: trace.Tracer,
        request_hook: RequestHook | None,
        response_hook: ResponseHook | None,
    ) -> None:
        self.instruments = instruments
        self._descriptions = descriptions
        self._tracer = tracer
        self._hooks = request_hook, response_hook

    def begin(self, session: Session, rules: Rules, terms: Terms) -> None:
        """A call begins."""
        self.instruments.see(session)
        if _is_suppressed():
            return

        def attempt(request: PreparedRequest, resends: int) -> _Attempt:
            return _Attempt(self.instruments, self._descriptions, self._tracer, request, terms, resends)

        call = _Call(attempt, rules, terms.stream, *self._hooks)
        terms.hooks = terms.hooks.preceded_by(connection=call.connected, resend=call.resent)
        terms.around = call.exchange


def _is_suppressed() -> bool:
    """Whether the program wants nothing recorded here, by the keys that OpenTelemetry's own packages go by."""
    return any(map(context.get_value, _SUPPRESSING_KEYS))
