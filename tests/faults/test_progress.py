"""Progress and accounts are the truth: bytes that the kernel took, per param and in all, from the first to the last."""

import itertools
from typing import Any

import pytest

import aioreq
from aioreq.testing import FaultServer, faults

from .bodies import KIB, KINDS, Kind, Supply, whole
from .conftest import Serve

WRITE = 128 * KIB
"""Bytes that are handed to the kernel at once, at most, while somebody watches; files aside."""

TURN = {"plain": 4096 * KIB, "tls": 2048 * KIB}
"""Bytes of a file that a thread sends, at most, before those who watch are told."""

TLS_RECORD = 16 * KIB
"""Bytes that one record holds at most (RFC 8446, section 5.1): a cut one can't be read by the server."""


class Watch(list[aioreq.UploadProgress]):
    """A progress callback that keeps what it was told."""

    def __call__(self, progress: aioreq.UploadProgress) -> None:
        self.append(progress)

    @property
    def attempts(self) -> dict[int, list[aioreq.UploadProgress]]:
        """What was told, by attempt; they come one after the other."""
        groups = itertools.groupby(self, lambda progress: progress.attempt)
        attempts = [(number, list(told)) for number, told in groups]
        assert [number for number, _ in attempts] == sorted({number for number, _ in attempts})
        return dict(attempts)


def rises(numbers: list[int]) -> bool:
    """Whether each is larger than the one before."""
    return all(before < after for before, after in itertools.pairwise([0, *numbers]))


# --- what is told


async def test_it_rises_to_the_total_and_ends_there(
    kind: Kind, transport: str, serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """`sent` only rises, each time it is told, and the last one is the total, which is what the server has."""
    server, watch = serve(), Watch()
    response = await session.put(server.url, progress=watch, **kind.arguments(supply))
    assert rises([progress.sent for progress in watch])
    assert watch[-1].sent == response.upload.sent == server.requests[0].received
    assert {progress.total for progress in watch} == {response.upload.total}
    assert {progress.attempt for progress in watch} == {1}
    step = TURN[transport] if kind.pumped else WRITE
    assert watch[0].sent <= step
    assert all(after.sent - before.sent <= step for before, after in itertools.pairwise(watch))
    assert whole(server.requests[0], supply.content)
    assert response.upload.complete


async def test_a_watched_upload_is_the_same_upload(
    kind: Kind, serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """Whoever watches changes nothing in what is sent, and the account agrees with what was told."""
    server, watch = serve(), Watch()
    for progress in (None, watch):
        response = await session.put(server.url, progress=progress, **kind.arguments(small_supply))
        assert response.upload.complete
        assert response.upload.sent == response.json()["received"]
    assert all(whole(request, small_supply.content) for request in server.requests)
    assert watch[-1].sent == server.requests[1].received


def form_of(supply: Supply) -> list[aioreq.MultipartParam]:
    return [
        aioreq.MultipartParam("field", "a value"),
        aioreq.MultipartParam("first", fileobj=supply.path, filename="first.bin"),
        aioreq.MultipartParam("empty", b""),
        aioreq.MultipartParam("blob", supply.content[: 100 * KIB], filename="blob.bin"),
        aioreq.MultipartParam("last", fileobj=supply.opened(), filename="last.bin"),
    ]


async def test_the_params_add_up(serve: Serve, session: aioreq.Session, supply: Supply) -> None:
    """Params come in their order and each ends at its own total; the parts add up to the whole at every moment."""
    server, watch, params = serve(), Watch(), form_of(supply)
    response = await session.post(server.url, files=params, progress=watch)
    parts = [(param, list(told)) for param, told in itertools.groupby(watch, lambda progress: progress.param)]
    assert [param for param, _ in parts] == [*params, None]  # the closing boundary is nobody's
    behind = 0
    for _, told in parts:
        assert rises([progress.param_sent for progress in told])
        assert all(progress.sent == behind + progress.param_sent for progress in told)
        assert {progress.param_total for progress in told} == {told[-1].param_sent}
        behind = told[-1].sent
    assert behind == watch[-1].total == response.upload.total == server.requests[0].received


async def test_poster_callbacks_in_a_session(serve: Serve, session: aioreq.Session, supply: Supply) -> None:
    """poster's `cb` of a body and of a param are called as bytes leave, and agree with `progress=`."""
    server, watch, params = serve(), Watch(), form_of(supply)
    of_body: list[tuple[Any, int, int]] = []
    of_params: list[tuple[Any, int, int]] = []
    for param in params:
        param.cb = lambda *told: of_params.append(told)
    datagen, headers = aioreq.multipart_encode(params, cb=lambda *told: of_body.append(told))
    response = await session.post(server.url, data=datagen, headers=headers, progress=watch)
    assert of_body == [(progress.param, progress.sent, progress.total) for progress in watch]
    assert of_params == [
        (progress.param, progress.param_sent, progress.param_total) for progress in watch if progress.param is not None
    ]
    assert of_body[-1] == (None, response.upload.total, int(headers["Content-Length"]))


# --- bodies that are sent again

REPLAYABLE = pytest.mark.parametrize("kind", [name for name in KINDS if KINDS[name].replayable], indirect=True)


@REPLAYABLE
async def test_a_redirect_starts_over(kind: Kind, serve: Serve, session: aioreq.Session, small_supply: Supply) -> None:
    """A 307 sends the body again: `sent` goes back, and `attempt` says why."""
    server, watch = serve({"/": faults.redirect("/end"), "/end": faults.ok()}), Watch()
    response = await session.put(server.url + "/", progress=watch, **kind.arguments(small_supply))
    assert list(watch.attempts) == [1, 2]
    for told in watch.attempts.values():
        assert rises([progress.sent for progress in told])
        assert told[-1].sent == told[-1].total == response.upload.total
    assert whole(server.requests[1], small_supply.content)


@REPLAYABLE
async def test_a_retry_starts_over(kind: Kind, serve: Serve, session: aioreq.Session, supply: Supply) -> None:
    """An attempt that was broken off ends where it ended, and the next one counts from the first byte to the last."""
    server, watch = serve(faults.in_turn(faults.reset_after(64 * KIB), faults.ok(503), faults.ok())), Watch()
    retry = aioreq.Retry(attempts=3, backoff=0)
    response = await session.put(server.url, progress=watch, retry=retry, **kind.arguments(supply))
    assert list(watch.attempts) == [1, 2, 3]
    first, second, third = watch.attempts.values()
    assert 64 * KIB <= first[-1].sent <= first[-1].total
    assert second[-1].sent == third[-1].sent == response.upload.total == server.requests[2].received
    assert all(rises([progress.sent for progress in told]) for told in (first, second, third))


# --- callbacks that raise


@pytest.mark.parametrize("mistake", [RuntimeError, BrokenPipeError, TimeoutError])
async def test_what_the_callback_raises_is_raised(
    mistake: type[Exception], kind: Kind, serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """An exception in the callback ends the upload and reaches the caller as it was raised; the session goes on."""
    error = mistake("the callback's own")

    def raise_it(progress: aioreq.UploadProgress) -> None:
        raise error

    server = serve({"/stalled": faults.stall(after=64 * KIB), "/": faults.ok()})
    with pytest.raises(mistake) as caught:
        await session.put(server.url + "/stalled", progress=raise_it, expect_continue=False, **kind.arguments(supply))
    assert caught.value is error
    assert session.pool.open == 0
    assert (await session.get(server.url + "/")).ok


async def test_the_last_byte_may_raise_too(
    kind: Kind, serve: Serve, session: aioreq.Session, small_supply: Supply
) -> None:
    """A callback that raises when all has left is heard as well, whatever the server answers."""
    error = RuntimeError("the callback's own")
    watch = Watch()
    server = serve()
    arguments = kind.arguments(small_supply)
    await session.put(server.url, progress=watch, **kind.arguments(small_supply))

    def raise_at_the_end(progress: aioreq.UploadProgress) -> None:
        if progress.sent == watch[-1].sent:
            raise error

    with pytest.raises(RuntimeError) as caught:
        await session.put(server.url, progress=raise_at_the_end, **arguments)
    assert caught.value is error
    assert session.pool.open == session.pool.idle
    assert (await session.get(server.url)).ok


@pytest.mark.parametrize("whose", ["body", "param"])
async def test_poster_callbacks_may_raise(whose: str, serve: Serve, session: aioreq.Session, supply: Supply) -> None:
    """What a `cb` raises is raised too."""
    error = RuntimeError("the callback's own")

    def raise_it(*told: Any) -> None:
        raise error

    params = form_of(supply)
    params[1].cb = raise_it if whose == "param" else None
    datagen, headers = aioreq.multipart_encode(params, cb=raise_it if whose == "body" else None)
    server = serve()
    with pytest.raises(RuntimeError) as caught:
        await session.post(server.url, data=datagen, headers=headers)
    assert caught.value is error
    assert (await session.get(server.url)).ok


# --- only what has left


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "unwatched"])
async def test_only_what_the_kernel_took_is_counted(
    watched: bool, kind: Kind, serve: Serve, session: aioreq.Session, supply: Supply, transport: str
) -> None:
    """When the server has stopped reading, `sent` is what it finds in its kernel later: not a byte more or less."""
    server: FaultServer = serve({"/stalled": faults.stall(after=64 * KIB)})
    watch = Watch() if watched else None
    with pytest.raises(aioreq.WriteTimeout) as caught:
        await session.put(
            server.url + "/stalled",
            progress=watch,
            timeout=aioreq.Timeout(write=0.1),
            expect_continue=False,
            **kind.arguments(supply),
        )
    sent = caught.value.sent
    server.release("stalled")
    await server.reached("closed")
    (request,) = server.requests
    assert not request.complete
    assert sent is not None
    if watch is not None:
        assert rises([progress.sent for progress in watch])
        assert sent - WRITE < watch[-1].sent <= sent  # the write that is not through yet is not told of
    if transport == "plain" and kind.name != "chunked":
        assert request.received == sent
    else:
        assert abs(request.received - sent) <= 2 * TLS_RECORD
