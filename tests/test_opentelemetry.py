"""Traces and metrics: what OpenTelemetry's own SDK is told of requests that real servers have seen."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.context import _SUPPRESS_HTTP_INSTRUMENTATION_KEY, _SUPPRESS_INSTRUMENTATION_KEY
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.semconv._incubating.attributes import http_attributes as incubating_http
from opentelemetry.semconv._incubating.metrics import http_metrics as incubating_metrics
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
    user_agent_attributes,
)
from opentelemetry.semconv.metrics import http_metrics
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import aioreq
from aioreq.opentelemetry import instrument, uninstrument
from aioreq.testing import ASGITransport, Exchange, FaultServer, MockTransport, answer, faults, script
from tests.servers.endpoint import EchoServer

Starter = Callable[..., FaultServer]


class Telemetry:
    """An SDK of its own for each test, and what it was told."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        tracers = TracerProvider(shutdown_on_exit=False, **({} if sampler is None else {"sampler": sampler}))
        tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.providers: dict[str, Any] = {"tracer_provider": tracers, "meter_provider": meters}
        self.tracer = tracers.get_tracer("tests")

    @property
    def spans(self) -> list[ReadableSpan]:
        """Those that have ended, oldest first; the test's own are left out."""
        return [span for span in self._exporter.get_finished_spans() if span.kind is SpanKind.CLIENT]

    @property
    def span(self) -> ReadableSpan:
        [span] = self.spans
        return span

    def points(self, name: str) -> list[Any]:
        """The data points of a metric."""
        return [point for metric in self.metrics if metric.name == name for point in metric.data.data_points]

    @property
    def metrics(self) -> list[Any]:
        data = self._reader.get_metrics_data()
        if data is None:
            return []
        return [m for resource in data.resource_metrics for scope in resource.scope_metrics for m in scope.metrics]


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def session_of(telemetry: Telemetry) -> Callable[..., aioreq.Session]:
    """A factory of instrumented sessions; ``how`` is for ``instrument``."""

    def make(how: dict[str, Any] | None = None, **options: Any) -> aioreq.Session:
        session = aioreq.Session(**options)
        instrument(session, **telemetry.providers, **(how or {}))
        return session

    return make


@pytest.fixture
def for_all(telemetry: Telemetry) -> Iterator[None]:
    """All sessions are instrumented."""
    instrument(**telemetry.providers)
    yield
    uninstrument()


SessionOf = Callable[..., aioreq.Session]


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def parent_in(headers: Any) -> trace.SpanContext:
    """The span that a request's headers name."""
    found = TraceContextTextMapPropagator().extract({name.lower(): value for name, value in headers})
    return trace.get_current_span(found).get_span_context()


@contextmanager
def with_key(key: str) -> Iterator[None]:
    token = context.attach(context.set_value(key, True))
    try:
        yield
    finally:
        context.detach(token)


class TestSpans:
    """One request, one span."""

    async def test_an_upload(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """A span has the conventions' name, kind and attributes, and nothing beside them."""
        server = fault_server()
        async with session_of() as session:
            response = await session.post(f"{server.url}/up?a=1#top", data=b"x" * 1000)
        host, port = server.address
        assert telemetry.span.name == "POST"
        assert telemetry.span.kind is SpanKind.CLIENT
        assert telemetry.span.status.status_code is StatusCode.UNSET
        assert dict(telemetry.span.attributes or {}) == {
            http_attributes.HTTP_REQUEST_METHOD: "POST",
            server_attributes.SERVER_ADDRESS: host,
            server_attributes.SERVER_PORT: port,
            url_attributes.URL_FULL: f"{server.url}/up?a=1#top",
            http_attributes.HTTP_RESPONSE_STATUS_CODE: 200,
            network_attributes.NETWORK_PROTOCOL_VERSION: "1.1",
            network_attributes.NETWORK_PEER_ADDRESS: "127.0.0.1",
            network_attributes.NETWORK_PEER_PORT: port,
            incubating_http.HTTP_REQUEST_BODY_SIZE: 1000,
        }
        assert telemetry.span.events == ()
        assert telemetry.span.instrumentation_scope is not None
        assert telemetry.span.instrumentation_scope.name == "aioreq"
        assert telemetry.span.instrumentation_scope.version == aioreq.__version__
        assert seconds(telemetry.span) >= response.elapsed.total_seconds()

    async def test_a_real_server(self, uvicorn_echo: EchoServer, telemetry: Telemetry, session_of: SessionOf) -> None:
        """Over TLS too; a request without a body says nothing of one."""
        async with session_of(verify=False) as session:
            await session.get(uvicorn_echo.tls.url("/status/204"))
        attributes = telemetry.span.attributes
        assert attributes is not None
        assert attributes[url_attributes.URL_FULL] == uvicorn_echo.tls.url("/status/204")
        assert attributes[server_attributes.SERVER_PORT] == uvicorn_echo.tls.port
        assert attributes[http_attributes.HTTP_RESPONSE_STATUS_CODE] == 204
        assert incubating_http.HTTP_REQUEST_BODY_SIZE not in attributes

    @pytest.mark.parametrize("size", [10_000, 3_000_000])
    async def test_bodies_from_files(
        self, size: int, tmp_path: Path, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf
    ) -> None:
        """The size of a body is what left of it, whichever way it went."""
        path = tmp_path / "body"
        path.write_bytes(bytes(size))
        async with session_of() as session:
            await session.put(fault_server().url, data=path)
        assert (telemetry.span.attributes or {})[incubating_http.HTTP_REQUEST_BODY_SIZE] == size

    @pytest.mark.parametrize("status", [400, 404, 500, 503])
    async def test_answers_that_are_errors(
        self, status: int, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf
    ) -> None:
        """4xx and 5xx are errors, and the status says which."""
        async with session_of() as session:
            await session.get(fault_server(faults.ok(status)).url)
        assert telemetry.span.status.status_code is StatusCode.ERROR
        assert telemetry.span.status.description is None
        assert (telemetry.span.attributes or {})[error_attributes.ERROR_TYPE] == str(status)

    async def test_what_a_sampler_sees(self, fault_server: Starter) -> None:
        """What matters to a sampler is there when the span begins."""
        seen: dict[str, Any] = {}

        class Watching(Sampler):
            def should_sample(
                self, parent_context, trace_id, name, kind=None, attributes=None, links=None, trace_state=None
            ):
                seen.update(attributes or {})
                return SamplingResult(Decision.RECORD_AND_SAMPLE)

            def get_description(self) -> str:
                return "watching"

        telemetry = Telemetry(Watching())
        server = fault_server()
        async with aioreq.Session() as session:
            instrument(session, **telemetry.providers)
            await session.get(server.url)
        assert seen == {
            http_attributes.HTTP_REQUEST_METHOD: "GET",
            server_attributes.SERVER_ADDRESS: "127.0.0.1",
            server_attributes.SERVER_PORT: server.address[1],
            url_attributes.URL_FULL: f"{server.url}/",
        }

    async def test_what_is_not_sampled(self, fault_server: Starter) -> None:
        """A request that is not sampled is measured all the same, runs no hooks, and says so to the server."""
        telemetry = Telemetry(ALWAYS_OFF)
        server = fault_server()
        hooked: list[Any] = []
        async with aioreq.Session() as session:
            instrument(session, **telemetry.providers, request_hook=lambda *arguments: hooked.append(arguments))
            await session.get(server.url)
        assert (telemetry.spans, hooked) == ([], [])
        assert telemetry.points(http_metrics.HTTP_CLIENT_REQUEST_DURATION)[0].count == 1
        assert not parent_in(server.requests[0].headers).trace_flags.sampled


class TestMethods:
    """``http.request.method`` has few values."""

    async def test_an_unknown_one(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """A method that is not known is _OTHER, and its span is called HTTP."""
        async with session_of() as session:
            await session.request("PROPFIND", fault_server().url)
        assert telemetry.span.name == "HTTP"
        assert (telemetry.span.attributes or {})[http_attributes.HTTP_REQUEST_METHOD] == "_OTHER"
        assert (telemetry.span.attributes or {})[http_attributes.HTTP_REQUEST_METHOD_ORIGINAL] == "PROPFIND"
        [point] = telemetry.points(http_metrics.HTTP_CLIENT_REQUEST_DURATION)
        assert point.attributes[http_attributes.HTTP_REQUEST_METHOD] == "_OTHER"

    async def test_known_ones_can_be_named(
        self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The environment's variable names all that are known."""
        monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "PROPFIND,PUT")
        async with session_of() as session:
            await session.request("PROPFIND", fault_server().url)
            await session.get(fault_server().url)
        assert [span.name for span in telemetry.spans] == ["PROPFIND", "HTTP"]


def resend_counts(telemetry: Telemetry) -> list[Any]:
    return [(span.attributes or {}).get(http_attributes.HTTP_REQUEST_RESEND_COUNT) for span in telemetry.spans]


def statuses(telemetry: Telemetry) -> list[Any]:
    return [(span.attributes or {}).get(http_attributes.HTTP_RESPONSE_STATUS_CODE) for span in telemetry.spans]


def error_types(telemetry: Telemetry) -> list[Any]:
    return [(span.attributes or {}).get(error_attributes.ERROR_TYPE) for span in telemetry.spans]


@script
async def challenge(exchange: Exchange) -> None:
    """Ask for Digest credentials until there are some."""
    await exchange.read_body()
    if any(name == "Authorization" for name, _ in exchange.request.headers):
        await exchange.answer(200)
    else:
        await exchange.answer(401, [("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth"')])


class TestResends:
    """What goes out again is a span of its own."""

    async def test_redirects(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """Each hop is a span beside the others, with its own URL and place in the row, and no error."""
        server = fault_server({"/": faults.redirect("/b", 302), "/b": faults.redirect("/c", 307), "/c": faults.ok()})
        async with session_of() as session:
            with telemetry.tracer.start_as_current_span("job") as job:
                await session.get(server.url)
        assert resend_counts(telemetry) == [None, 1, 2]
        assert statuses(telemetry) == [302, 307, 200]
        assert error_types(telemetry) == [None] * 3
        assert [span.parent for span in telemetry.spans] == [job.get_span_context()] * len(telemetry.spans)
        paths = [str((span.attributes or {})[url_attributes.URL_FULL]) for span in telemetry.spans]
        assert paths == [server.url + path for path in ("/", "/b", "/c")]

    async def test_a_redirect_too_many(
        self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf
    ) -> None:
        """The redirect that is not followed any more is an error."""
        async with session_of(max_redirects=1) as session:
            with pytest.raises(aioreq.TooManyRedirects):
                await session.get(fault_server(faults.redirect("/", 302)).url)
        assert statuses(telemetry) == [302, 302]
        assert error_types(telemetry) == [None, "aioreq.exceptions.TooManyRedirects"]
        assert telemetry.spans[1].status.status_code is StatusCode.ERROR

    async def test_a_redirect_that_is_wanted(
        self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf
    ) -> None:
        """Where redirects are not followed, the first one is a good answer."""
        async with session_of(max_redirects=0) as session:
            await session.get(fault_server(faults.redirect("/", 302)).url, allow_redirects=False)
        assert error_types(telemetry) == [None]

    async def test_retries(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """Each attempt is a span, those that brought no answer too, and the server sees another parent each time."""
        server = fault_server(faults.in_turn(faults.ok(503), faults.reset_at_once(), faults.ok()))
        async with session_of(retry=aioreq.Retry(attempts=3, backoff=0)) as session:
            await session.put(server.url, data=b"12345")
        assert resend_counts(telemetry) == [None, 1, 2]
        assert statuses(telemetry) == [503, None, 200]
        assert error_types(telemetry)[0] == "503"
        assert error_types(telemetry)[1] in (
            "aioreq.exceptions.ServerDisconnected",
            "aioreq.exceptions.ConnectionError",
        )
        seen = [parent_in(request.headers).span_id for request in server.requests]
        assert seen == [span.get_span_context().span_id for span in telemetry.spans]

    async def test_an_answer_cut_short(
        self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf
    ) -> None:
        """What goes wrong in the body of an answer is part of the attempt that it makes fail."""
        server = fault_server(faults.in_turn(faults.cut_answer(), faults.ok()))
        async with session_of(retry=aioreq.Retry(attempts=2, backoff=0)) as session:
            await session.get(server.url)
        assert statuses(telemetry) == [200, 200]
        assert error_types(telemetry) == ["aioreq.exceptions.RemoteProtocolError", None]

    async def test_digest(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """The question and the answer to a challenge are two spans."""
        server = fault_server(challenge())
        async with session_of(auth=aioreq.DigestAuth("ann", "hush")) as session:
            await session.post(server.url, data=b"body")
        assert resend_counts(telemetry) == [None, 1]
        assert statuses(telemetry) == [401, 200]
        assert "hush" not in str([dict(span.attributes or {}) for span in telemetry.spans])

    async def test_a_dead_connection(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """A request that goes out again because its connection was dead is two spans, with two parents for servers."""
        server = fault_server(faults.in_turn(faults.ok(), faults.reset_at_once(), faults.ok()))
        async with session_of() as session:
            await session.get(server.url)
            with telemetry.tracer.start_as_current_span("job") as job:
                await session.get(server.url)
                assert trace.get_current_span() is job
        assert resend_counts(telemetry) == [None, None, 1]
        assert error_types(telemetry) == [None, "aioreq.exceptions.ServerDisconnected", None]
        assert [span.parent for span in telemetry.spans[1:]] == [job.get_span_context()] * 2
        seen = [parent_in(request.headers).span_id for request in server.requests]
        assert seen == [span.get_span_context().span_id for span in telemetry.spans]
        for request in server.requests:
            assert [name for name, _ in request.headers].count("traceparent") == 1

    async def test_bulk_uploads(
        self, tmp_path: Path, fault_server: Starter, telemetry: Telemetry, for_all: None
    ) -> None:
        """Each attempt at each item is a span under the one that was current around the loop."""
        server = fault_server(faults.in_turn(faults.ok(503), faults.ok()))
        paths = [tmp_path / name for name in ("a", "b", "c")]
        for path in paths:
            path.write_bytes(b"content")
        with telemetry.tracer.start_as_current_span("job") as job:
            run = aioreq.bulk_upload(server.url, paths, retry=aioreq.Retry(attempts=2, backoff=0), concurrency=1)
            results = [result async for result in run]
        assert all(result.ok for result in results)
        assert sorted(statuses(telemetry)) == [200, 200, 200, 503]
        assert [span.parent for span in telemetry.spans] == [job.get_span_context()] * len(telemetry.spans)
        assert len(server.requests) == 4


class TestErrors:
    """Whatever ends a request ends its span."""

    async def test_nobody_listens(self, telemetry: Telemetry, session_of: SessionOf) -> None:
        """A connection that can't be made is an error by the exception's full name; its message stays out."""
        with FaultServer() as server:
            url = server.url
        async with session_of() as session:
            with pytest.raises(aioreq.ConnectionError):
                await session.post(url, data=b"never")
        attributes = telemetry.span.attributes or {}
        assert attributes[error_attributes.ERROR_TYPE] == "aioreq.exceptions.ConnectionError"
        assert http_attributes.HTTP_RESPONSE_STATUS_CODE not in attributes
        assert network_attributes.NETWORK_PROTOCOL_VERSION not in attributes
        assert incubating_http.HTTP_REQUEST_BODY_SIZE not in attributes
        assert telemetry.span.status.status_code is StatusCode.ERROR
        assert (telemetry.span.status.description, telemetry.span.events) == (None, ())

    async def test_a_broken_upload(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """What had left of a body is told."""
        async with session_of() as session:
            with pytest.raises(aioreq.ConnectionError) as caught:
                await session.post(fault_server(faults.reset_after(1000)).url, data=bytes(30_000_000))
        sent = caught.value.sent
        assert sent is not None
        assert 1000 <= sent < 30_000_000
        assert (telemetry.span.attributes or {})[incubating_http.HTTP_REQUEST_BODY_SIZE] == sent

    @pytest.mark.parametrize(
        ("timeout", "error"),
        [(aioreq.Timeout(read=0.05), "ReadTimeout"), (aioreq.Timeout(total=0.05), "Timeout")],
        ids=["read", "total"],
    )
    async def test_timeouts(
        self, timeout: Any, error: str, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf
    ) -> None:
        """A limit that was reached is named as the caller has it."""
        async with session_of() as session:
            with pytest.raises(aioreq.exceptions.Timeout) as caught:
                await session.get(fault_server(faults.silent()).url, timeout=timeout)
        assert type(caught.value).__name__ == error
        assert error_types(telemetry) == [f"aioreq.exceptions.{error}"]

    async def test_cancellation(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """A request that its caller gives up ends its span and is not active any more."""
        server = fault_server(faults.silent())
        async with session_of() as session:
            call = asyncio.create_task(session.get(server.url))
            await server.reached("request")
            [point] = telemetry.points(incubating_metrics.HTTP_CLIENT_ACTIVE_REQUESTS)
            assert point.value == 1
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        assert error_types(telemetry) == ["asyncio.exceptions.CancelledError"]
        [point] = telemetry.points(incubating_metrics.HTTP_CLIENT_ACTIVE_REQUESTS)
        assert point.value == 0

    async def test_a_proxy_refuses(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """The server is the one behind the proxy, the peer is the proxy, and so is who answered."""
        proxy = fault_server(faults.ok(407))
        async with session_of(proxy=proxy.url) as session:
            with pytest.raises(aioreq.ProxyError):
                await session.get("http://server.test:81/")
        attributes = telemetry.span.attributes or {}
        assert attributes[server_attributes.SERVER_ADDRESS] == "server.test"
        assert attributes[server_attributes.SERVER_PORT] == 81
        assert attributes[network_attributes.NETWORK_PEER_PORT] == proxy.address[1]
        assert attributes[http_attributes.HTTP_RESPONSE_STATUS_CODE] == 407
        assert attributes[error_attributes.ERROR_TYPE] == "aioreq.exceptions.ProxyError"

    async def test_a_unix_socket(
        self, tmp_path: Path, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf
    ) -> None:
        """The peer of a Unix socket is its path, without a port."""
        path = str(tmp_path / "socket")
        server = fault_server(unix_socket=path)
        async with session_of(unix_socket=path) as session:
            await session.get(server.url)
        attributes = telemetry.span.attributes or {}
        assert attributes[network_attributes.NETWORK_PEER_ADDRESS] == path
        assert network_attributes.NETWORK_PEER_PORT not in attributes

    async def test_an_error_of_the_callers(self, telemetry: Telemetry, session_of: SessionOf) -> None:
        """What is built in goes without a module."""

        def fail(_request: Any, _body: bytes) -> aioreq.Response:
            raise LookupError("secret")

        async with session_of(transport=MockTransport(fail)) as session:
            with pytest.raises(LookupError):
                await session.get("http://server.test/")
        assert error_types(telemetry) == ["LookupError"]
        assert "secret" not in telemetry.span.to_json()


class TestWhenASpanEnds:
    """Behind the body, or behind the head where the body is left to the caller."""

    async def test_streams(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """A streamed answer's span has ended when the caller gets it; the size is counted when it has been read."""
        server = fault_server(faults.ok(body=bytes(5_000_000)))
        async with session_of() as session, session.stream("GET", server.url) as response:
            assert statuses(telemetry) == [200]
            assert telemetry.points(incubating_metrics.HTTP_CLIENT_RESPONSE_BODY_SIZE) == []
            await response.read()
            [point] = telemetry.points(incubating_metrics.HTTP_CLIENT_RESPONSE_BODY_SIZE)
            assert (point.count, point.sum) == (1, 5_000_000)

    async def test_streams_left_early(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """Of a stream that is given up, what had come is counted, once."""
        server = fault_server(faults.endless_body())
        async with session_of() as session, session.stream("GET", server.url) as response:
            async for _ in response.iter_content():
                break
        assert error_types(telemetry) == [None]
        [point] = telemetry.points(incubating_metrics.HTTP_CLIENT_RESPONSE_BODY_SIZE)
        assert point.count == 1
        assert point.sum > 0

    async def test_an_early_answer(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """An upload that goes on behind the head of its answer is part of the span, to the last byte."""
        server = fault_server(faults.early_answer(200, then="go_on"))
        async with session_of() as session:
            response = await session.post(server.url, data=bytes(5_000_000))
        assert response.upload.complete
        assert (telemetry.span.attributes or {})[incubating_http.HTTP_REQUEST_BODY_SIZE] == 5_000_000

    async def test_sizes_are_those_on_the_wire(
        self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf
    ) -> None:
        """A coded answer counts as it came, and is decoded as ever."""
        coded = gzip.compress(bytes(100_000))
        server = fault_server(faults.ok(headers=[("Content-Encoding", "gzip")], body=coded))
        async with session_of() as session:
            assert (await session.get(server.url)).content == bytes(100_000)
            async with session.stream("GET", server.url) as response:
                assert await response.read() == bytes(100_000)
        [point] = telemetry.points(incubating_metrics.HTTP_CLIENT_RESPONSE_BODY_SIZE)
        assert (point.count, point.sum) == (2, 2 * len(coded))


class TestContext:
    """Whose child a request is, and who are its children."""

    async def test_the_server_is_told(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """The headers name the request's own span, and the trace that it was made in."""
        server = fault_server()
        async with session_of() as session:
            with telemetry.tracer.start_as_current_span("job") as job:
                response = await session.get(server.url)
        told = parent_in(server.requests[0].headers)
        assert told.span_id == telemetry.span.get_span_context().span_id
        assert told.trace_id == job.get_span_context().trace_id
        assert "traceparent" in response.request.headers

    async def test_concurrent_requests(
        self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf
    ) -> None:
        """Requests that are made at once keep their own parents, whichever ends first."""
        server = fault_server()

        async def job(number: int) -> tuple[str, int]:
            with telemetry.tracer.start_as_current_span(f"job {number}") as span:
                await session.get(f"{server.url}/{number}")
                assert trace.get_current_span() is span
                return f"{server.url}/{number}", span.get_span_context().span_id

        async with session_of() as session:
            parents = dict(await asyncio.gather(*map(job, range(20))))
        found = {
            str((s.attributes or {})[url_attributes.URL_FULL]): s.parent and s.parent.span_id for s in telemetry.spans
        }
        assert found == parents

    async def test_it_is_current_meanwhile(
        self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf
    ) -> None:
        """While a request is under way its span is current, for what makes its connection and its body; then not."""
        current: list[trace.Span] = []

        def resolve(_host: str, _port: int) -> list[str]:
            current.append(trace.get_current_span())
            return ["127.0.0.1"]

        async def body() -> Any:
            current.append(trace.get_current_span())
            yield bytes(1_000_000)

        url = fault_server().url.replace("127.0.0.1", "server.test")
        hooks = {"connection": lambda _: current.append(trace.get_current_span())}
        async with session_of(resolver=resolve, event_hooks=hooks) as session:
            await session.post(url, data=body(), headers={"Content-Length": "1000000"})
        ids = {span.get_span_context().span_id for span in current}
        assert len(current) == 3
        assert ids == {telemetry.span.get_span_context().span_id}
        assert trace.get_current_span() is trace.INVALID_SPAN

    @pytest.mark.parametrize(
        "key", [_SUPPRESS_HTTP_INSTRUMENTATION_KEY, _SUPPRESS_INSTRUMENTATION_KEY, "suppress_instrumentation"]
    )
    async def test_suppression(
        self, key: str, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf
    ) -> None:
        """Where the context says so, nothing is recorded and the server is told nothing."""
        server = fault_server()
        async with session_of() as session:
            with with_key(key):
                await session.get(server.url)
            assert telemetry.spans == []
            assert telemetry.points(http_metrics.HTTP_CLIENT_REQUEST_DURATION) == []
            assert "traceparent" not in dict(server.requests[0].headers)
            await session.get(server.url)
        assert len(telemetry.spans) == 1


class TestSecrets:
    """No secret gets into an attribute."""

    @pytest.mark.parametrize(
        "name",
        [
            "AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature", "X-Amz-Signature", "x-amz-credential",
            "X-Amz-Security-Token", "X%2DAmz%2DSignature", "access_token", "api_key", "PASSWORD", "tenant",
        ],
    )  # fmt: skip
    async def test_in_urls(self, name: str, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """User info and the values of secret parameters are replaced, in whatever place; the rest stays."""
        server = fault_server()
        place = server.url.removeprefix("http://")
        url = f"http://ann:hush@{place}/p?a=1&{name}=s3cr%2Ft&b=sig#{name}=s3cr"
        async with session_of({"redact": ["Tenant"]}) as session:
            await session.get(url)
        assert (telemetry.span.attributes or {})[url_attributes.URL_FULL] == (
            f"http://REDACTED:REDACTED@{place}/p?a=1&{name}=REDACTED&b=sig#{name}=REDACTED"
        )
        assert server.requests[0].target == f"/p?a=1&{name}=s3cr%2Ft&b=sig"
        assert not [secret for secret in ("s3cr", "hush") if secret in telemetry.span.to_json()]

    async def test_in_redirects(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """A signed URL that a server sends for is as secret as one that was called."""
        server = fault_server({"/": faults.redirect("/b?sig=s3cr", 302), "/b": faults.ok()})
        async with session_of({"capture_response_headers": ["location"]}) as session:
            await session.get(server.url)
        attributes = telemetry.spans[0].attributes or {}
        assert attributes["http.response.header.location"] == ("/b?sig=REDACTED",)
        assert "s3cr" not in "".join(span.to_json() for span in telemetry.spans)

    async def test_in_headers(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """Of fields with credentials there is only a mask, whoever asks for them."""
        names = ["Authorization", "Cookie", "Proxy-Authorization", "X-Api-Key", "X-Ours"]
        server = fault_server(faults.ok(headers=[("Set-Cookie", "id=s3cr")]))
        how = {"capture_request_headers": names, "capture_response_headers": ["Set-Cookie"], "redact": ["x-ours"]}
        async with session_of(how) as session:
            await session.get(server.url, headers=dict.fromkeys(names, "s3cr"))
        attributes = telemetry.span.attributes or {}
        assert [attributes[f"http.request.header.{name.lower()}"] for name in names] == [("REDACTED",)] * 5
        assert attributes["http.response.header.set-cookie"] == ("REDACTED",)
        assert "s3cr" not in telemetry.span.to_json()


class TestWhatCanBeAskedFor:
    """The options of instrument()."""

    async def test_headers(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """Fields that were asked for are lists of their values, under their names in lower case."""
        server = fault_server(faults.ok(headers=[("Vary", "a"), ("Vary", "b"), ("X-Other", "c")]))
        how = {"capture_request_headers": ["X-Job", "X-Absent"], "capture_response_headers": ["VARY"]}
        async with session_of(how) as session:
            await session.get(server.url, headers={"X-Job": "17", "X-Other": "18"})
        attributes = telemetry.span.attributes or {}
        assert {name: value for name, value in attributes.items() if ".header." in name} == {
            "http.request.header.x-job": ("17",),
            "http.response.header.vary": ("a", "b"),
        }

    async def test_the_user_agent(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """It is among the attributes where that was asked for."""
        async with session_of({"capture_user_agent": True}, headers={"User-Agent": "robot/2"}) as session:
            await session.get(fault_server().url)
        assert (telemetry.span.attributes or {})[user_agent_attributes.USER_AGENT_ORIGINAL] == "robot/2"

    async def test_hooks(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """Hooks see each span with what it is about, plain or async, and what they change is seen."""

        def on_request(span: trace.Span, request: aioreq.PreparedRequest) -> None:
            span.update_name(f"{request.method} /items/{{id}}")
            request.headers["X-Job"] = "17"

        async def on_response(span: trace.Span, request: aioreq.PreparedRequest, response: aioreq.Response) -> None:
            assert response.request is request
            span.set_attribute("job.status", response.status_code)

        server = fault_server()
        async with session_of({"request_hook": on_request, "response_hook": on_response}) as session:
            await session.get(server.url)
        assert telemetry.span.name == "GET /items/{id}"
        assert (telemetry.span.attributes or {})["job.status"] == 200
        assert ("X-Job", "17") in server.requests[0].headers

    @pytest.mark.parametrize("name", ["request_hook", "response_hook"])
    async def test_a_hook_that_raises(
        self, name: str, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf
    ) -> None:
        """What a hook raises ends the span and the call, and leaks no connection."""

        def fail(*_: Any) -> None:
            raise LookupError

        async with session_of({name: fail}) as session:
            with pytest.raises(LookupError):
                await session.get(fault_server(faults.ok(body=bytes(5_000_000))).url)
            assert session.pool.open == session.pool.idle
        assert error_types(telemetry) == ["LookupError"]
        assert trace.get_current_span() is trace.INVALID_SPAN

    async def test_a_header_that_may_not_go_out(
        self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf
    ) -> None:
        """What a hook puts into the headers is checked like all others."""

        def smuggle(_span: trace.Span, request: aioreq.PreparedRequest) -> None:
            request.headers["X-Job"] = "17\r\nX-Evil: 1"

        server = fault_server()
        async with session_of({"request_hook": smuggle}) as session:
            with pytest.raises(aioreq.InvalidHeader):
                await session.get(server.url)
        assert server.requests == []
        assert error_types(telemetry) == ["aioreq.exceptions.InvalidHeader"]


class TestMetrics:
    """The instruments of the conventions."""

    async def test_what_they_are_called(
        self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf
    ) -> None:
        """Name and unit are the conventions'."""
        async with session_of() as session:
            await session.put(fault_server().url, data=b"12345")
            assert {(metric.name, metric.unit) for metric in telemetry.metrics} == {
                (http_metrics.HTTP_CLIENT_REQUEST_DURATION, "s"),
                (incubating_metrics.HTTP_CLIENT_REQUEST_BODY_SIZE, "By"),
                (incubating_metrics.HTTP_CLIENT_RESPONSE_BODY_SIZE, "By"),
                (incubating_metrics.HTTP_CLIENT_ACTIVE_REQUESTS, "{request}"),
                (incubating_metrics.HTTP_CLIENT_OPEN_CONNECTIONS, "{connection}"),
            }

    async def test_duration(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """It is the span's own, in the buckets that are advised, by method, server, status and version."""
        server = fault_server()
        async with session_of() as session:
            await session.get(f"{server.url}/a?b=c")
        [point] = telemetry.points(http_metrics.HTTP_CLIENT_REQUEST_DURATION)
        assert point.sum == pytest.approx(seconds(telemetry.span), abs=1e-9)
        assert point.explicit_bounds == (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
        assert dict(point.attributes) == {
            http_attributes.HTTP_REQUEST_METHOD: "GET",
            server_attributes.SERVER_ADDRESS: "127.0.0.1",
            server_attributes.SERVER_PORT: server.address[1],
            http_attributes.HTTP_RESPONSE_STATUS_CODE: 200,
            network_attributes.NETWORK_PROTOCOL_VERSION: "1.1",
        }

    async def test_errors(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """What failed is told apart."""
        async with session_of() as session:
            with pytest.raises(aioreq.ServerDisconnected):
                await session.get(fault_server(faults.reset_at_once()).url)
        [point] = telemetry.points(http_metrics.HTTP_CLIENT_REQUEST_DURATION)
        assert point.attributes[error_attributes.ERROR_TYPE] == "aioreq.exceptions.ServerDisconnected"
        assert http_attributes.HTTP_RESPONSE_STATUS_CODE not in point.attributes

    async def test_body_sizes(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """Bodies of requests count where there is one; those of answers as they come."""
        server = fault_server(faults.ok(body=b"123"))
        async with session_of() as session:
            await session.put(server.url, data=b"12345")
            await session.get(server.url)
        [sent] = telemetry.points(incubating_metrics.HTTP_CLIENT_REQUEST_BODY_SIZE)
        assert (sent.count, sent.sum) == (1, 5)
        received = telemetry.points(incubating_metrics.HTTP_CLIENT_RESPONSE_BODY_SIZE)
        assert sorted((point.count, point.sum) for point in received) == [(1, 3), (1, 3)]

    async def test_trace_and_metric_find_each_other(
        self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf
    ) -> None:
        """A measured duration has its span as an example."""
        async with session_of() as session:
            await session.get(fault_server().url)
        [point] = telemetry.points(http_metrics.HTTP_CLIENT_REQUEST_DURATION)
        assert [example.span_id for example in point.exemplars] == [telemetry.span.get_span_context().span_id]

    async def test_connections(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """Open connections of all sessions are counted by server and state, as long as they are open."""

        def counted() -> dict[str, int]:
            points = telemetry.points(incubating_metrics.HTTP_CLIENT_OPEN_CONNECTIONS)
            assert all(point.attributes[server_attributes.SERVER_PORT] == server.address[1] for point in points)
            return {point.attributes[incubating_http.HTTP_CONNECTION_STATE]: point.value for point in points}

        server = fault_server({"/": faults.ok(), "/stall": faults.silent()})
        async with session_of() as first, session_of() as second:
            await first.get(server.url)
            await second.get(server.url)
            assert counted() == {"active": 0, "idle": 2}
            call = asyncio.create_task(first.get(f"{server.url}/stall"))
            await server.reached("request", 3)
            assert counted() == {"active": 1, "idle": 1}
            uninstrument(second)
            assert counted() == {"active": 1, "idle": 0}
            call.cancel()
            await asyncio.wait([call])
        assert counted() == {}

    async def test_connections_to_a_proxy(
        self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf
    ) -> None:
        """A connection that serves for all servers is counted as the proxy's."""
        proxy = fault_server()
        async with session_of(proxy=proxy.url) as session:
            await session.get("http://one.test/")
            await session.get("http://two.test/")
            points = telemetry.points(incubating_metrics.HTTP_CLIENT_OPEN_CONNECTIONS)
        assert {point.attributes[server_attributes.SERVER_PORT] for point in points} == {proxy.address[1]}
        assert sum(point.value for point in points) == 1


class TestWhoIsInstrumented:
    """One session, or all."""

    async def test_one(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """A session that is instrumented leaves others alone, and goes on without when that is undone."""
        server = fault_server()
        async with session_of() as session, aioreq.Session() as other:
            await other.get(server.url)
            assert telemetry.spans == []
            await session.get(server.url)
            assert len(telemetry.spans) == 1
            uninstrument(session)
            await session.get(server.url)
            assert len(telemetry.spans) == 1
        assert ["traceparent" in dict(request.headers) for request in server.requests] == [False, True, False]

    async def test_all(self, fault_server: Starter, telemetry: Telemetry) -> None:
        """All sessions, made before or later, and the shared one, until that is undone."""
        server = fault_server()
        async with aioreq.Session() as before:
            instrument(**telemetry.providers)
            try:
                async with aioreq.Session() as later:
                    await before.get(server.url)
                    await later.get(server.url)
                await aioreq.get(server.url)
            finally:
                uninstrument()
            await before.get(server.url)
            await aioreq.get(server.url)
        assert len(telemetry.spans) == 3

    async def test_one_by_itself(self, fault_server: Starter, telemetry: Telemetry, for_all: None) -> None:
        """A session's own way goes before that of all, and one can be left out; nothing is recorded twice."""
        own = Telemetry()
        server = fault_server()
        async with aioreq.Session() as special, aioreq.Session() as left_out:
            instrument(special, **own.providers)
            uninstrument(left_out)
            await special.get(server.url)
            await left_out.get(server.url)
        assert (len(own.spans), len(telemetry.spans)) == (1, 0)

    async def test_twice(self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf) -> None:
        """Doing it again takes the place of what was before, and connections are counted once."""
        async with session_of() as session:
            instrument(session, **telemetry.providers)
            await session.get(fault_server().url)
            assert len(telemetry.spans) == 1
            points = telemetry.points(incubating_metrics.HTTP_CLIENT_OPEN_CONNECTIONS)
            assert sum(point.value for point in points) == 1

    async def test_hooks_of_the_session_go_on(
        self, fault_server: Starter, telemetry: Telemetry, session_of: SessionOf
    ) -> None:
        """The session's own hooks are called as ever."""
        seen: list[str] = []
        names = ("request", "connection", "response")
        hooks = {name: lambda _, name=name: seen.append(name) for name in names}
        async with session_of(event_hooks=hooks) as session:
            await session.get(fault_server().url)
        assert seen == list(names)

    async def test_without_a_socket(self, telemetry: Telemetry, session_of: SessionOf) -> None:
        """Requests to a function are traced too; there is no peer, and no connection to count."""
        transport = MockTransport(lambda request, body: answer(request, 201, b"made"))
        async with session_of(transport=transport) as session:
            await session.post("http://server.test/", data=b"12345")
            assert telemetry.points(incubating_metrics.HTTP_CLIENT_OPEN_CONNECTIONS) == []
        attributes = telemetry.span.attributes or {}
        assert attributes[incubating_http.HTTP_REQUEST_BODY_SIZE] == 5
        assert attributes[server_attributes.SERVER_ADDRESS] == "server.test"
        assert network_attributes.NETWORK_PEER_ADDRESS not in attributes
        assert "traceparent" in transport.requests[0].headers

    async def test_an_application(self, telemetry: Telemetry, session_of: SessionOf) -> None:
        """What is called in the same loop runs with the request's span around it, and is told of it."""
        told: list[trace.SpanContext] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            told.append(parent_in([(name.decode(), value.decode()) for name, value in scope["headers"]]))
            told.append(trace.get_current_span().get_span_context())
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"done"})

        async with session_of(transport=ASGITransport(app)) as session:
            await session.get("http://app/")
        assert [span.span_id for span in told] == [telemetry.span.get_span_context().span_id] * 2
        [point] = telemetry.points(incubating_metrics.HTTP_CLIENT_RESPONSE_BODY_SIZE)
        assert point.sum == 4


class TestWithoutOpenTelemetry:
    """An extra."""

    @staticmethod
    def run(script: str) -> str:
        return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    def test_the_core_goes_without(self) -> None:
        """aioreq does not load it."""
        assert self.run("import sys, aioreq.bulk; print('opentelemetry' in sys.modules)") == "False\n"

    def test_the_package_is_missing(self) -> None:
        """Who asks for it without having it is told what to install, by an error that is an ImportError."""
        script = (
            "import sys; sys.modules['opentelemetry'] = None\n"
            "import aioreq\n"
            "try: import aioreq.opentelemetry\n"
            "except ImportError as error: print(type(error).__name__, error)"
        )
        assert self.run(script) == (
            "ExtraRequired aioreq.opentelemetry needs opentelemetry-api: pip install 'aioreq[opentelemetry]'\n"
        )

    def test_no_sdk(self) -> None:
        """With the API alone, requests go as ever, and nothing is added to them."""
        script = (
            "import asyncio, aioreq, aioreq.opentelemetry\n"
            "from aioreq.testing import MockTransport, answer\n"
            "async def main():\n"
            "    aioreq.opentelemetry.instrument()\n"
            "    mock = MockTransport(lambda request, body: answer(request, 200))\n"
            "    async with aioreq.Session(transport=mock) as session:\n"
            "        print((await session.get('http://server.test/')).status_code)\n"
            "    print('traceparent' in mock.requests[0].headers)\n"
            "asyncio.run(main())"
        )
        assert self.run(script) == "200\nFalse\n"
