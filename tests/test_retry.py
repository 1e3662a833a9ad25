"""Trying again: when, after how long, and when not."""

import io
import time
from email.utils import formatdate
from typing import Any

import pytest

from aioreq import Retry
from aioreq._message import PreparedRequest
from aioreq._rules.retry import IDEMPOTENT, may_send_again, retry_after
from aioreq.exceptions import (
    ConnectionError,
    ConnectTimeout,
    FileChanged,
    InvalidBody,
    PoolTimeout,
    ProxyError,
    ReadTimeout,
    RemoteProtocolError,
    RequestException,
    ServerDisconnected,
    SSLError,
    TooManyRedirects,
    WriteTimeout,
)
from tests.talks import answer, prepared


@pytest.fixture
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays are not shortened at random."""
    monkeypatch.setattr("random.random", lambda: 0.0)


def after_answer(retry: Retry, status: int = 503, *, method: str = "GET", attempt: int = 1, **headers: str) -> Any:
    request = prepared(method)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return retry.after_answer(request, answer(request, status, fields), attempt)


class TestTheValue:
    def test_it_is_a_value(self):
        """A Retry is compared by what it says, can be held, and not be changed."""
        assert Retry() == Retry(attempts=3)
        assert Retry() != Retry(attempts=4)
        with pytest.raises(AttributeError):
            Retry().attempts = 7  # type: ignore[misc]

    def test_of(self):
        """A number is that of the attempts; None is none."""
        retry = Retry(attempts=7)
        assert Retry.of(retry) is retry
        assert Retry.of(5) == Retry(attempts=5)
        assert Retry.of(None) is None

    @pytest.mark.parametrize("value", ["3", 1.5, True, object()])
    def test_what_is_no_policy(self, value: Any):
        """Anything else is told what it should be."""
        with pytest.raises(TypeError, match="retry is a Retry, a number of attempts or None, not"):
            Retry.of(value)

    @pytest.mark.parametrize("fields", [{"attempts": 0}, {"attempts": -1}, {"backoff": -0.1}, {"max_delay": -1}])
    def test_numbers_that_make_no_sense(self, fields: dict[str, Any]):
        """There is one attempt at least, and no time below zero."""
        with pytest.raises(ValueError, match="attempts is 1 or more"):
            Retry(**fields)


class TestAnswers:
    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    def test_what_may_pass_is_tried_again(self, status: int):
        """Too many requests, and gateways in trouble."""
        assert after_answer(Retry(), status) is not None

    @pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 408, 500, 501, 505])
    def test_what_stays_is_not(self, status: int):
        """Everything else is the answer."""
        assert after_answer(Retry(), status) is None

    def test_statuses_of_ones_own(self):
        """Which answers are tried again can be said."""
        assert after_answer(Retry(statuses=[418]), 418) is not None
        assert after_answer(Retry(statuses=[418]), 503) is None

    def test_the_attempts_have_an_end(self):
        """The first attempt counts."""
        delays = [after_answer(Retry(attempts=3), attempt=attempt) for attempt in (1, 2, 3, 4)]
        assert [delay is not None for delay in delays] == [True, True, False, False]
        assert after_answer(Retry(attempts=1)) is None


class TestMethods:
    @pytest.mark.parametrize("method", sorted(IDEMPOTENT))
    def test_idempotent_methods_are_tried_again(self, method: str):
        """Doing it twice is the same as doing it once (RFC 9110, section 9.2.2)."""
        assert after_answer(Retry(), method=method) is not None

    @pytest.mark.parametrize("method", ["POST", "PATCH", "CONNECT", "OWN"])
    def test_others_are_not(self, method: str):
        """A POST may have done its work although the answer was lost."""
        assert after_answer(Retry(), method=method) is None
        assert after_answer(Retry(methods=[method]), method=method) is not None

    def test_an_idempotency_key_allows_every_method(self):
        """A key by which the server knows it again makes any request safe."""
        request = prepared("POST", headers={"idempotency-key": "x"})
        assert Retry().after_answer(request, answer(request, 503), 1) is not None
        assert Retry().after_error(request, ServerDisconnected("gone"), 1) is not None

    async def test_a_body_that_has_begun_and_can_be_read_once(self):
        """It can't be sent again, so the answer or error is the last."""
        request = prepared("PUT", data=iter([b"data"]), headers={"Content-Length": "4"})
        assert request.body is not None
        assert [chunk async for chunk in request.body] == [b"data"]
        assert Retry().after_answer(request, answer(request, 503), 1) is None
        assert Retry().after_error(request, ServerDisconnected("gone"), 1) is None

    async def test_a_body_that_can_be_read_again(self):
        """A file can be sent as often as wanted."""
        request = prepared("PUT", data=io.BytesIO(b"data"))
        assert request.body is not None
        assert [chunk async for chunk in request.body] == [b"data"]
        assert Retry().after_answer(request, answer(request, 503), 1) is not None


class TestErrors:
    @pytest.mark.parametrize(
        "error",
        [
            ConnectionError("refused"),
            ConnectTimeout("slow"),
            ReadTimeout("silent"),
            WriteTimeout("stuck"),
            PoolTimeout("full"),
            RemoteProtocolError("cut"),
            ServerDisconnected("gone"),
            ProxyError("unreachable"),
            ProxyError("bad gateway", status_code=502),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_what_may_pass_is_tried_again(self, error: RequestException):
        """A connection that broke or could not be made, and timeouts."""
        assert Retry().after_error(prepared(), error, 1) is not None
        assert Retry().after_error(prepared(), error, 3) is None
        assert Retry().after_error(prepared("POST"), error, 1) is None

    @pytest.mark.parametrize(
        "error",
        [
            SSLError("not trusted"),
            FileChanged("shorter"),
            InvalidBody("none"),
            TooManyRedirects("30"),
            ProxyError("who are you", status_code=407),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_what_stays_is_not(self, error: RequestException):
        """No certificate is trusted, and no file grows back, for asking again."""
        assert Retry().after_error(prepared(), error, 1) is None


class TestDelays:
    @pytest.mark.usefixtures("no_chance")
    def test_they_double(self):
        """The pause doubles with each attempt, up to its limit."""
        retry = Retry(attempts=10, backoff=0.5, max_delay=3.0)
        assert [after_answer(retry, attempt=attempt) for attempt in range(1, 6)] == [0.5, 1.0, 2.0, 3.0, 3.0]

    def test_they_are_shortened_at_random(self):
        """Up to a half is left out, so that clients don't all come back at once."""
        delays = {after_answer(Retry(backoff=1.0)) for _ in range(50)}
        assert len(delays) > 1
        assert all(0.5 <= delay <= 1.0 for delay in delays)

    def test_many_attempts_do_no_harm(self):
        """The thousandth doubling is still within the limit."""
        assert after_answer(Retry(attempts=5000), attempt=1000) <= 60.0

    def test_no_backoff(self):
        """Zero is no pause at all."""
        assert after_answer(Retry(backoff=0)) == 0.0


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [("0", 0.0), ("7", 7.0), (" 7 ", 7.0), ("120", 120.0), ("soon", None), ("-5", None), ("1.5", None), ("", None)],
    )
    def test_seconds(self, value: str, seconds: float | None):
        """A number is that of seconds (RFC 9110, section 10.2.3); nonsense says nothing."""
        assert retry_after(answer(prepared(), 503, {"Retry-After": value})) == seconds

    def test_a_date(self, monkeypatch: pytest.MonkeyPatch):
        """A date is a point in time; one in the past means now."""
        now = time.time()
        monkeypatch.setattr("aioreq._rules.retry.time.time", lambda: now)
        for ahead, seconds in ((10, 10), (3600, 3600), (-10, 0)):
            value = formatdate(now + ahead, usegmt=True)
            asked = retry_after(answer(prepared(), 503, {"Retry-After": value}))
            assert asked == pytest.approx(seconds, abs=1)

    @pytest.mark.parametrize(
        "value", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
    )
    def test_a_date_in_each_of_its_forms(self, value: str):
        """HTTP's three forms of a date are all read (RFC 9110, section 5.6.7)."""
        assert retry_after(answer(prepared(), 503, {"Retry-After": value})) == 0.0

    @pytest.mark.parametrize("value", ["Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 99999 08:49:37 GMT", "9" * 5000])
    def test_a_number_too_large(self, value: str):
        """Nothing that a server says breaks the retry, or makes it wait for ever."""
        delay = after_answer(Retry(), Retry_After=value)
        assert 0.0 <= delay <= 60.0

    def test_no_header(self):
        """Without the header nothing is asked for."""
        assert retry_after(answer(prepared(), 503)) is None

    def test_it_sets_the_delay(self):
        """What the server asks for is waited, up to the limit."""
        assert after_answer(Retry(), Retry_After="7") == 7.0
        assert after_answer(Retry(max_delay=5), Retry_After="7") == 5.0
        assert after_answer(Retry(), Retry_After="0") == 0.0

    @pytest.mark.usefixtures("no_chance")
    def test_it_need_not(self):
        """The header can be left out of account."""
        assert after_answer(Retry(respect_retry_after=False), Retry_After="7") == 0.5


@pytest.mark.parametrize(
    ("request_", "sent", "may"),
    [
        (prepared("GET"), None, True),
        (prepared("PUT", data=b"x"), 1, True),
        (prepared("DELETE"), None, True),
        (prepared("POST", data=b"x"), 0, True),
        (prepared("POST", data=b"x"), 1, False),
        (prepared("POST", data=b"x"), None, False),
        (prepared("POST"), None, False),
        (prepared("POST", data=iter([]), headers={"Content-Length": "0"}), 0, False),
        (prepared("POST", data=iter([]), headers={"Transfer-Encoding": "chunked"}), 0, False),
        (prepared("PUT", data=iter([]), headers={"Content-Length": "0"}), 0, True),
    ],
    ids=repr,
)
def test_a_request_that_a_dead_connection_swallowed(request_: PreparedRequest, sent: int | None, may: bool):
    """It goes out on another one when it is idempotent, or when nothing of its body was sent, which had something."""
    assert may_send_again(request_, sent) is may


async def test_a_swallowed_body_that_can_be_read_once():
    """A one-shot body is sent again only if it has not begun."""
    request = prepared("PUT", data=iter([b"data"]), headers={"Content-Length": "4"})
    assert may_send_again(request, 0)
    assert request.body is not None
    assert [chunk async for chunk in request.body] == [b"data"]
    assert not may_send_again(request, 0)
