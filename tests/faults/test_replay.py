"""A body that must go out again goes out whole, or an error says that it can't: never short, never empty."""

import hashlib
from pathlib import Path

import pytest

import aioreq
from aioreq.testing import Exchange, faults, script

from .bodies import Kind, Supply, whole
from .conftest import Serve


@pytest.mark.parametrize("before_body", [False, True], ids=["behind the body", "before the body"])
@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_that_keeps_the_body(
    kind: Kind, status: int, before_body: bool, serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """307 and 308 send the same body to the new place, whole; a source that has begun is refused."""
    redirect = faults.redirect("/end", status, before_body=before_body)
    if before_body and not kind.replayable:  # with its first byte, or the source might not have begun
        redirect = faults.early_answer(status, after=1, then="go_on", headers=(("Location", "/end"),))
    server = serve({"/": redirect, "/end": faults.ok()})
    call = session.post(server.url + "/", expect_continue=False, **kind.arguments(supply))
    if kind.replayable:
        response = await call
        assert response.request.method == "POST"
        assert [hop.status_code for hop in response.history] == [status]
        assert whole(server.requests[-1], supply.content)
        assert response.upload.complete
    else:
        with pytest.raises(aioreq.UnrewindableBodyError):
            await call
        assert [request.path for request in server.requests] == ["/"]
    assert (await session.get(server.url + "/end")).ok


async def test_a_one_shot_body_survives_a_redirect_that_comes_first(
    kind: Kind, serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """With Expect, a server that redirects before it wants the body gets no byte of it, and the next one gets all."""
    server = serve({"/": faults.early_answer(307, headers=(("Location", "/end"),), then="hold"), "/end": faults.ok()})
    response = await session.post(server.url + "/", expect_continue=True, **kind.arguments(small_supply))
    assert server.requests[0].received == 0
    assert response.history[0].upload.sent == 0
    assert whole(server.requests[-1], small_supply.content)


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_redirect_that_drops_the_body(
    kind: Kind, status: int, serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """301, 302 and 303 turn POST into GET, without body and without its headers, whatever the body was."""
    server = serve({"/": faults.redirect("/end", status), "/end": faults.ok()})
    response = await session.post(server.url + "/", **kind.arguments(small_supply))
    assert (server.requests[-1].method, server.requests[-1].received) == ("GET", 0)
    assert not {"Content-Length", "Content-Type", "Transfer-Encoding", "Expect"} & set(response.request.headers)


@script
async def digest_protected(exchange: Exchange) -> None:
    """Challenge with Digest (RFC 7616) when there are no credentials, behind the body."""
    await exchange.read_body()
    if exchange.request.header("authorization") is None:
        await exchange.answer(
            401, (("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'),)
        )
    else:
        await exchange.answer()


async def test_a_challenge_is_answered_with_the_whole_body(
    kind: Kind, serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """A Digest challenge has the same body sent again with the proof; a one-shot source that has begun is refused."""
    server = serve(digest_protected())
    call = session.put(
        server.url, auth=aioreq.DigestAuth("user", "secret"), expect_continue=False, **kind.arguments(small_supply)
    )
    if not kind.replayable:
        with pytest.raises(aioreq.UnrewindableBodyError):
            await call
        return
    response = await call
    assert response.status_code == 200
    assert whole(server.requests[1], small_supply.content)
    authorization = server.requests[1].header("authorization") or ""
    assert authorization.startswith("Digest ")
    assert "secret" not in authorization


async def test_an_early_challenge_is_answered_too(
    usual_kind: Kind, serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """A 401 in mid-upload stops the body, and the whole of it goes out with the credentials."""
    challenge = faults.early_answer(401, after=1000, headers=(("WWW-Authenticate", 'Digest realm="r", nonce="n"'),))
    server = serve(faults.in_turn(challenge, faults.ok()))
    call = session.put(
        server.url, auth=aioreq.DigestAuth("user", "secret"), expect_continue=False, **usual_kind.arguments(supply)
    )
    if usual_kind.replayable:
        assert (await call).status_code == 200
        assert whole(server.requests[1], supply.content)
    else:
        with pytest.raises(aioreq.UnrewindableBodyError):
            await call


async def test_retries_send_the_whole_body_each_time(
    kind: Kind, serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """A reset, a 503 and another reset are tried again with the same body; a one-shot body is not tried again."""
    server = serve(
        faults.in_turn(faults.reset_after(1000), faults.ok(503), faults.cut_answer(declared=9, sent=0), faults.ok())
    )
    retry = aioreq.Retry(attempts=4, backoff=0)
    call = session.put(server.url, retry=retry, expect_continue=False, **kind.arguments(small_supply))
    if not kind.replayable:
        with pytest.raises(aioreq.ConnectionError):
            await call
        assert len(server.requests) == 1
        return
    response = await call
    assert response.json()["received"] == response.upload.total
    assert [whole(request, small_supply.content) for request in server.requests] == [False, True, True, True]


async def test_a_post_is_tried_again_only_with_a_key(serve: Serve, session: aioreq.Session) -> None:
    """POST is not idempotent: it is tried again only with an Idempotency-Key, or when the policy names it."""
    server = serve(faults.ok(503))
    retry = aioreq.Retry(attempts=2, backoff=0)
    assert (await session.post(server.url, data=b"x", retry=retry)).status_code == 503
    assert len(server.requests) == 1
    await session.post(server.url, data=b"x", headers={"Idempotency-Key": "k"}, retry=retry)
    assert len(server.requests) == 3
    await session.post(server.url, data=b"x", retry=aioreq.Retry(attempts=2, backoff=0, methods={"POST"}))
    assert len(server.requests) == 5


async def test_a_stale_connection_is_replaced(
    kind: Kind, serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """A pooled connection that the server resets under the next request costs a PUT nothing that can be sent again."""
    server = serve(faults.in_turn(faults.ok(), faults.reset_after(0), faults.ok()))
    await session.get(server.url)
    call = session.put(server.url, expect_continue=False, **kind.arguments(small_supply))
    if kind.replayable:
        response = await call
        assert whole(server.requests[-1], small_supply.content)
        assert response.upload.complete
    else:
        with pytest.raises(aioreq.ConnectionError):
            await call
        assert len(server.requests) == 2
    assert (await session.get(server.url)).ok


async def test_a_post_is_not_sent_twice_by_surprise(serve: Serve, session: aioreq.Session) -> None:
    """A POST whose body has left on a connection that then breaks is an error: it may have done its work."""
    server = serve(faults.in_turn(faults.ok(), faults.reset_after(100_000), faults.ok()))
    await session.get(server.url)
    with pytest.raises(aioreq.ConnectionError) as caught:
        await session.post(server.url, data=bytes(100_000))
    assert caught.value.sent == 100_000
    assert caught.value.request is not None
    assert len(server.requests) == 2


async def test_a_closed_idle_connection_is_noticed(serve: Serve, session: aioreq.Session) -> None:
    """A connection that the server has closed meanwhile is not used: a POST goes out once, on another."""
    server = serve(faults.in_turn(faults.close_idle(), faults.ok()))
    await session.get(server.url)
    await server.reached("closed")
    response = await session.post(server.url, data=b"once")
    assert response.json()["sha256"] == hashlib.sha256(b"once").hexdigest()
    assert len(server.requests) == 2


async def test_send_anyway_sends_the_whole_body_again(
    kind: Kind, serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """One Request sent twice sends the same body twice, or is refused."""
    server = serve()
    request = aioreq.Request("POST", server.url, **kind.arguments(small_supply))
    assert (await session.send(request)).ok
    if kind.replayable:
        await session.send(request)
        assert [whole(sent, small_supply.content) for sent in server.requests] == [True, True]
    else:
        with pytest.raises((aioreq.UnrewindableBodyError, aioreq.BodyLengthError)):
            await session.send(request)


async def test_an_empty_body_that_a_dead_connection_swallowed(serve: Serve, session: aioreq.Session, tmp_path: Path):
    """The server may have acted on it: it had all of it with the head."""

    @script
    async def read_and_close(exchange: Exchange) -> None:
        await exchange.read_body()
        await exchange.close()

    (tmp_path / "empty").write_bytes(b"")
    server = serve({"/": faults.ok(), "/upload": read_and_close()})
    await session.get(server.url + "/")
    with pytest.raises(aioreq.ServerDisconnected) as caught:
        await session.post(server.url + "/upload", data=tmp_path / "empty")
    assert caught.value.sent == 0
    assert [request.method for request in server.requests] == ["GET", "POST"]
