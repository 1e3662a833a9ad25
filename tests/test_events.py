"""Hooks and log lines: what a session tells of its work, without its secrets."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

import aioreq
from aioreq.testing import FaultServer, faults

Starter = Callable[..., FaultServer]


async def test_hooks_see_each_exchange(fault_server: Starter) -> None:
    """request, connection and response hooks are called for every hop, in order, plain or async."""
    server = fault_server({"/": faults.redirect("/end", 302), "/end": faults.ok()})
    seen: list[Any] = []

    async def later(response: aioreq.Response) -> None:
        seen.append(response.status_code)

    hooks = {
        "request": lambda request: seen.append(request.method),
        "connection": lambda event: seen.append(event.reused),
        "response": [later],
    }
    async with aioreq.Session(event_hooks=hooks) as session:
        await session.get(server.url + "/")
    assert seen == ["GET", False, 302, "GET", True, 200]


async def test_a_request_hook_may_change_headers(fault_server: Starter) -> None:
    """What a request hook puts into the headers is sent."""
    server = fault_server()

    def sign(request: aioreq.PreparedRequest) -> None:
        request.headers["X-Signature"] = "signed"

    async with aioreq.Session(event_hooks={"request": sign}) as session:
        response = await session.get(server.url)
    assert response.request.headers["X-Signature"] == "signed"
    assert ("X-Signature", "signed") in [(name, value) for name, value in server.requests[0].headers]


async def test_interim_answers_are_seen(fault_server: Starter) -> None:
    """A hook sees the 1xx answers before the final one."""
    server = fault_server(faults.interim(103, 102))
    seen: list[int] = []
    async with aioreq.Session(event_hooks={"interim": lambda event: seen.append(event.status_code)}) as session:
        assert (await session.get(server.url)).status_code == 200
    assert seen == [103, 102]


async def test_each_retry_is_told(fault_server: Starter, caplog: pytest.LogCaptureFixture) -> None:
    """The attempt hook and a log line at INFO tell of a retry before it is made."""
    caplog.set_level(logging.INFO, logger="aioreq")
    server = fault_server(faults.in_turn(faults.reset_at_once(), faults.ok()))
    seen: list[aioreq.AttemptEvent] = []
    retry = aioreq.Retry(attempts=2, backoff=0)
    async with aioreq.Session(event_hooks={"attempt": seen.append}, retry=retry) as session:
        assert (await session.get(server.url)).ok
    assert [(event.number, type(event.error)) for event in seen] == [(2, aioreq.ServerDisconnected)]
    assert "attempt 2" in caplog.text


async def test_what_a_hook_raises_reaches_the_caller(fault_server: Starter) -> None:
    """An error in any hook ends the call, leaks nothing, and the session goes on."""
    server = fault_server()
    for name in ("request", "connection", "response"):
        broken = True

        def hook(_event: Any) -> None:
            if broken:
                raise LookupError(name)

        async with aioreq.Session(event_hooks={name: hook}) as session:
            with pytest.raises(LookupError, match=name):
                await session.get(server.url)
            broken = False
            assert (await session.get(server.url)).ok
            assert session.pool.open == session.pool.idle == 1


@pytest.mark.parametrize(
    ("hooks", "error"), [({"requests": print}, ValueError), ({"request": 3}, TypeError), ({"interim": None}, TypeError)]
)
def test_hooks_that_mean_nothing_are_refused(hooks: Any, error: type[Exception]) -> None:
    """A misspelt event or a hook that is no function is refused when the session is made."""
    with pytest.raises(error):
        aioreq.Session(event_hooks=hooks)


async def test_no_secret_is_logged_or_shown(fault_server: Starter, caplog: pytest.LogCaptureFixture) -> None:
    """Passwords, tokens, cookies and queries appear in no log line, repr or error."""
    caplog.set_level(logging.DEBUG, logger="aioreq")
    server = fault_server({"/": faults.ok(), "/cut": faults.cut_answer(declared=10, sent=3)})
    shown: list[str] = []
    async with aioreq.Session(headers={"Authorization": "Bearer s3cret"}, cookies={"id": "s3cret"}) as session:
        response = await session.get(server.url.replace("://", "://user:s3cret@") + "/?signature=s3cret")
        shown += [repr(response), repr(response.request), repr(response.request.headers), repr(session)]
        with pytest.raises(aioreq.RemoteProtocolError) as caught:
            await session.get(server.url + "/cut", auth=("user", "s3cret"))
        shown += [str(caught.value), repr(caught.value), repr(session.cookies), repr(session.headers)]
        shown += [repr(auth) for auth in (aioreq.BasicAuth("u", "s3cret"), aioreq.DigestAuth("u", "s3cret"))]
        shown += [repr(aioreq.BearerAuth("s3cret"))]
    assert "GET" in caplog.text
    assert "s3cret" not in caplog.text + "".join(shown)


async def test_a_request_that_goes_out_again_is_told(fault_server: Starter) -> None:
    """The resend hook sees how a connection turned out to be dead, before the request has another."""
    server = fault_server(faults.in_turn(faults.ok(), faults.reset_at_once(), faults.ok()))
    seen: list[Any] = []
    hooks = {"connection": lambda event: seen.append(event.reused), "resend": seen.append}
    async with aioreq.Session(event_hooks=hooks) as session:
        await session.get(server.url)
        response = await session.get(server.url)
    first, used, resend, again = seen
    assert (first, used, again) == (False, True, False)
    assert isinstance(resend, aioreq.ResendEvent)
    assert resend.request is response.request
    assert isinstance(resend.error, aioreq.ServerDisconnected)
