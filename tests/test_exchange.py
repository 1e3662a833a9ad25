"""One exchange over a stream out of a script: however an answer is cut on its way, the caller sees the same."""

from collections import deque
from collections.abc import Coroutine, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioreq._net.http1 import Connection, Terms
from aioreq._rules.retry import may_send_again
from aioreq._rules.route import Route
from aioreq.exceptions import RemoteProtocolError, RequestException, ServerDisconnected
from tests.talks import prepared
from tests.test_wire_http1 import CORPUS

ROUTE = Route(("http", "example.org", 80))
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class ScriptedStream:
    """What an exchange asks of a stream; it receives what is in the script, and then the end.

    Attributes:
        written: the request.
        unsent: bytes of it that the kernel has not taken.
    """

    lost = None
    ended_cleanly = True
    sending = False
    is_flushed = True

    def __init__(self, pieces: Sequence[bytes], unsent: int) -> None:
        self._pieces = deque(pieces)
        self.written = b""
        self.unsent = unsent
        self.closed = False

    @property
    def quiet(self) -> bool:
        return not self._pieces and not self.closed and not self.unsent

    def limit(self, read: float | None, write: float | None) -> None:
        """Nothing here takes long."""

    def write(self, data: bytes) -> None:
        self.written += data

    post = write

    async def drain(self) -> None:
        self.unsent = 0

    async def receive(self) -> bytes:
        return self._pieces.popleft() if self._pieces else b""

    def fail(self, error: BaseException) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


class Shelf:
    """Where connections are between exchanges: it notes whether each can be used again."""

    def __init__(self, released: list[bool]) -> None:
        self._released = released

    def released(self, _connection: Connection, reusable: bool) -> None:
        self._released.append(reusable)

    def disturbed(self, _connection: Connection) -> None:
        """Nothing here rests."""


def finish(steps: Coroutine[Any, Any, Any]) -> Any:
    """Drive a coroutine that never waits."""
    try:
        steps.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits, though all that will come is there")


def exchange(
    method: str, came: bytes, cuts: Sequence[int] = (), *, unsent: int = 0, exchanges: int = 0, **fields: Any
) -> Any:
    """What a caller sees of an answer that is cut at these places, and whether its connection can be used again.

    Args:
        method: the request's.
        came: the answer.
        cuts: where it is cut.
        unsent: bytes of the request that have not left when the answer comes.
        exchanges: how many the connection has had before.
        **fields: of the request.
    """
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(came)}), len(came)]
    stream: Any = ScriptedStream([came[start:end] for start, end in pairwise(places) if start < end], unsent)
    released: list[bool] = []
    connection = Connection(stream, ROUTE, Shelf(released))
    connection.exchanges = exchanges

    async def run() -> Any:
        try:
            response = await connection.exchange(prepared(method, **fields), Terms())
            await response.read()
        except RequestException as error:
            return isinstance(error, RemoteProtocolError), isinstance(error, ServerDisconnected), error.sent
        kept = {name: value for name, value in vars(response).items() if name not in ("_elapsed", "_stream", "_begun")}
        assert response.elapsed.total_seconds() >= 0
        upload, request = kept.pop("upload"), kept.pop("request")
        assert request.method == method
        kept.pop("_trailers", None)
        pairs = {name: list(getattr(response, name).items()) for name in ("headers", "trailers", "cookies")}
        del kept["headers"], kept["cookies"]
        return {**kept, **pairs, "upload": (upload.sent, upload.total, upload.complete), "text": response.text}

    outcome = finish(run())
    [reusable] = released
    assert stream.written.startswith(method.encode() + b" / HTTP/1.1\r\n")
    return outcome, reusable


def request_of(method: str, **fields: Any) -> bytes:
    """The request as it goes out."""
    stream: Any = ScriptedStream([WHOLE], 0)
    connection = Connection(stream, ROUTE, Shelf([]))
    finish(connection.exchange(prepared(method, **fields), Terms()))
    return stream.written


def every_cut(data: bytes) -> list[list[int]]:
    return [[cut] for cut in range(1, len(data))] + [list(range(1, len(data)))]


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("surplus", [b"", b"x", b"HTTP/1.1 200 OK\r\nX-Stray: 1\r\nContent-Length: 5\r\n\r\nstray"])
@pytest.mark.parametrize("body", [None, b"body"])
def test_an_answer_in_pieces(name: str, surplus: bytes, body: bytes | None):
    """Cut at any place, an answer gives the same response as in one piece, and the same connection back."""
    method, data, _, _ = CORPUS[name]
    fields = {} if body is None else {"data": body}
    whole = exchange(method, data + surplus, **fields)
    for cuts in every_cut(data + surplus)[:: 1 if len(data) < 200 else 17]:
        assert exchange(method, data + surplus, cuts, **fields) == whole, cuts


@settings(max_examples=150, derandomize=True, database=None, deadline=None)
@given(
    answer=st.sampled_from([(method, data) for method, data, _, _ in CORPUS.values()]),
    damage=st.lists(st.tuples(st.integers(0, 120), st.binary(max_size=2)), max_size=2),
    cuts=st.lists(st.integers(0, 200), max_size=4),
)
def test_a_damaged_answer_in_pieces(answer: tuple[str, bytes], damage: list[tuple[int, bytes]], cuts: list[int]):
    """So does what is hardly an answer: a response, or the same kind of error."""
    method, data = answer
    for at, replacement in damage:
        data = data[:at] + replacement + data[at + 1 :]
    assert exchange(method, data, cuts, data=b"body") == exchange(method, data, data=b"body")


class TestTheConnection:
    """A connection is given back once, and only when nothing is left on it."""

    def test_after_a_whole_answer(self):
        """It can be used again, and the whole body of the request has left."""
        outcome, reusable = exchange("POST", WHOLE, data=b"body")
        assert reusable
        assert outcome["_content"] == b"ok"
        assert outcome["upload"] == (4, 4, True)

    @pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
    @pytest.mark.parametrize("status", [b"200 OK", b"204 No Content", b"304 Not Modified"])
    def test_stray_bytes(self, method: str, status: bytes):
        """It can't when bytes came that belong to no answer, whatever the method and the status."""
        head = b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n"
        is_bodiless = method == "HEAD" or status != b"200 OK"
        assert exchange(method, head + (b"" if is_bodiless else b"ok"))[1]
        outcome, reusable = exchange(method, head + b"ok" + (b"" if is_bodiless else b"+"))
        assert not reusable
        assert outcome["_content"] == (b"" if is_bodiless else b"ok")

    def test_a_server_that_closes(self):
        """Nor when the server says that it closes."""
        assert not exchange("GET", WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))[1]

    def test_a_caller_who_closes(self):
        """Nor when the caller wants it closed."""
        assert not exchange("GET", WHOLE, headers={"Connection": "close"})[1]

    def test_an_answer_before_the_request_was_out(self):
        """An answer that overtakes its request ends well, and the account of the upload is what had left by then."""
        outcome, reusable = exchange("POST", WHOLE, unsent=3, data=b"body")
        assert outcome["upload"] == (4, 4, True)  # a success: the rest is sent behind it
        assert reusable
        refused = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"
        outcome, reusable = exchange("POST", refused, unsent=3, data=b"body")
        assert outcome["upload"] == (1, 4, False)
        assert not reusable

    @pytest.mark.parametrize("name", CORPUS)
    @pytest.mark.parametrize("body", [None, b"body"])
    def test_an_answer_before_the_request_left(self, name: str, body: bytes | None):
        """What comes on a kept connection when nothing of the request has left is no answer, whatever it is.

        As soon as some of it has left, it is one; and on a new connection it is what the server has to say.
        """
        method, data, _, _ = CORPUS[name]
        fields = {} if body is None else {"data": body}
        size = len(request_of(method, **fields))
        refused = (True, True, None if body is None else 0), False
        assert exchange(method, data, unsent=size, exchanges=1, **fields) == refused
        assert exchange(method, data, unsent=size + 30, exchanges=1, **fields) == refused  # in TLS records
        for unsent, exchanges in ((size - 1, 1), (size, 0)):
            outcome, _ = exchange(method, data, unsent=unsent, exchanges=exchanges, **fields)
            assert isinstance(outcome, dict)
        assert exchange(method, data, exchanges=1, **fields) == exchange(method, data, **fields)

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_what_was_refused_may_be_sent_again(self, method: str):
        """The error says that nothing has left, so that the request may be sent on another connection."""
        (_, _, sent), _ = exchange(method, WHOLE, unsent=1000, exchanges=1, data=b"body")
        assert may_send_again(prepared(method, data=b"body"), sent)

    @pytest.mark.parametrize("data", [b"", WHOLE[:-1], WHOLE[:20], b"garbage\r\n\r\n"])
    def test_no_answer(self, data: bytes):
        """What is no whole answer is an error, which says what had left; the connection is closed."""
        outcome, reusable = exchange("POST", data, data=b"body")
        assert outcome == (True, not data, 4)
        assert not reusable
