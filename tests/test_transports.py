"""Transports without a socket: a session over a function, and over an ASGI app."""

from __future__ import annotations

import asyncio
import pathlib
from typing import Any

import postbin
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import aioreq
from aioreq.testing import ASGITransport, MockTransport, answer


async def test_a_function_answers() -> None:
    """A mock's function gets the request and its whole body, and its answer is the call's."""

    async def server(request: aioreq.PreparedRequest, body: bytes) -> aioreq.Response:
        return answer(request, 201, json={"method": request.method, "length": len(body)})

    transport = MockTransport(server)
    async with aioreq.Session(transport=transport) as session:
        response = await session.post("http://nowhere.example/", files={"f": pathlib.Path(__file__)})
    assert response.json() == {"method": "POST", "length": response.upload.total}
    assert transport.requests[0].headers["Content-Length"] == str(response.upload.sent)


async def test_policy_runs_over_a_mock() -> None:
    """Redirects, cookies and auth are the session's, whatever carries the requests."""

    def server(request: aioreq.PreparedRequest, _body: bytes) -> aioreq.Response:
        if request.target.path == "/":
            return answer(request, 302, headers={"Location": "/in", "Set-Cookie": "id=7"})
        return answer(request, 200, request.headers.get("Cookie", "") + request.headers.get("Authorization", ""))

    async with aioreq.Session(transport=MockTransport(server)) as session:
        response = await session.get("http://nowhere.example/", auth=("u", "p"))
    assert response.text == "id=7Basic dTpw"
    assert [hop.status_code for hop in response.history] == [302]


async def test_what_a_mock_raises_reaches_the_caller() -> None:
    """Errors can be staged."""

    def server(request: aioreq.PreparedRequest, _body: bytes) -> aioreq.Response:
        raise aioreq.ReadTimeout("staged", request=request)

    async with aioreq.Session(transport=MockTransport(server)) as session:
        with pytest.raises(aioreq.ReadTimeout, match="staged"):
            await session.get("http://nowhere.example/")
        with pytest.raises(AttributeError, match="no pool"):
            _ = session.pool


async def test_an_asgi_app_is_called_in_the_same_loop() -> None:
    """The bin, a whole Starlette app with streaming uploads, works without a socket."""
    seen: list[int] = []
    async with aioreq.Session(transport=ASGITransport(postbin.create_app())) as session:
        made = await session.post("http://bin.example/")
        receipt = (
            await session.post(
                made.url, data={"a": "b"}, files={"f": b"x" * 500_000}, progress=lambda p: seen.append(p.sent)
            )
        ).json()
    assert [part["size"] for part in receipt["parts"]] == [1, 500_000]
    assert seen == sorted(seen)
    assert seen[-1] == receipt["received"]


def app_of(endpoint: Any) -> Starlette:
    return Starlette(routes=[Route("/", endpoint, methods=["GET", "POST"])])


async def test_an_app_streams_its_answer() -> None:
    """A streamed answer comes piece by piece, and can be left early: the app is ended."""
    ended = asyncio.Event()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"again", "more_body": True})
        finally:
            ended.set()

    async with (
        aioreq.Session(transport=ASGITransport(app)) as session,
        session.stream("GET", "http://app.example/") as response,
    ):
        async for piece in response.iter_content():
            assert piece == b"again"
            break
    await ended.wait()


async def test_what_an_app_raises_reaches_the_caller() -> None:
    """An app that fails before or behind its answer fails the call with its own error."""

    async def before(_request: Request) -> PlainTextResponse:
        raise LookupError("before")

    def fail() -> None:
        raise LookupError("behind")

    async def behind(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("fine", background=BackgroundTask(fail))

    for endpoint in (before, behind):
        async with aioreq.Session(transport=ASGITransport(app_of(endpoint))) as session:
            with pytest.raises(LookupError, match=endpoint.__name__):
                await session.get("http://app.example/")


@pytest.mark.parametrize(
    "messages", [[{"type": "http.response.body"}], [{"type": "http.response.start", "status": 200, "headers": []}]]
)
async def test_an_app_that_breaks_the_protocol_is_told_so(messages: list[dict[str, Any]]) -> None:
    """An app that answers out of order, or not to the end, is an error with a sentence."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    async with aioreq.Session(transport=ASGITransport(app)) as session:
        with pytest.raises(aioreq.RemoteProtocolError, match="the app"):
            await session.get("http://app.example/")


async def test_a_cancelled_call_ends_the_app() -> None:
    """Cancelling a call cancels the app that serves it."""
    entered, left = asyncio.Event(), asyncio.Event()

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    async with aioreq.Session(transport=ASGITransport(app)) as session:
        call = asyncio.create_task(session.get("http://app.example/"))
        await entered.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert left.is_set()
