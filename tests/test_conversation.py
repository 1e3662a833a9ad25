"""A call as a conversation: policies acting on one another, with next(), send() and throw() for a server."""

import io
from typing import Any

import pytest

from aioreq import BasicAuth, DigestAuth, Retry
from aioreq._rules.conversation import Pause, Rules, conversation
from aioreq.exceptions import ConnectionError, InvalidBody, ReadTimeout, ServerDisconnected, UnrewindableBodyError
from tests.talks import Talk, answer, prepared, to

HOME = "http://example.org/home"
AT_ONCE = Retry(backoff=0)
CHALLENGE = (401, {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'})


class TestOneExchange:
    def test_a_request_and_its_answer(self):
        """The request is yielded as it is, and the answer is the value of the generator."""
        request = prepared("GET", HOME)
        steps = conversation(request, Rules())
        assert next(steps) is request
        response = answer(request)
        with pytest.raises(StopIteration) as stopped:
            steps.send(response)
        assert stopped.value.value is response
        assert response.history == []

    def test_an_error_is_raised(self):
        """What the exchange raised comes out as it is."""
        steps = conversation(prepared("GET", HOME), Rules())
        next(steps)
        error = ServerDisconnected("gone")
        with pytest.raises(ServerDisconnected) as caught:
            steps.throw(error)
        assert caught.value is error

    @pytest.mark.parametrize("status", [200, 204, 304, 400, 404, 500, 503])
    def test_any_answer_is_final_without_a_rule_for_it(self, status: int):
        """Errors are answers: nothing is tried again unless a policy says so."""
        talk = Talk.of(prepared("GET", HOME), [status])
        assert talk.final is not None
        assert talk.final.status_code == status

    def test_nothing_happens_before_the_first_step(self):
        """A conversation can be made and forgotten."""
        conversation(prepared("GET", HOME), Rules(auth=BasicAuth("a", "b"))).close()


class TestRetries:
    def test_an_answer_that_may_pass(self):
        """The same request goes out again, after a pause, until the answer is another."""
        talk = Talk.of(prepared("GET", HOME), [503, 503, 200], Rules(retry=Retry(backoff=1.0)))
        assert talk.urls == [HOME] * 3
        assert len(talk.pauses) == 2
        assert 0.5 <= talk.pauses[0] <= 1.0 <= talk.pauses[1] <= 2.0
        assert talk.final is not None
        assert talk.final.status_code == 200
        assert talk.final.history == []

    def test_an_error_that_may_pass(self):
        """So it does after an error."""
        script = [ServerDisconnected("gone"), ReadTimeout("silent"), 200]
        talk = Talk.of(prepared("GET", HOME), script, Rules(retry=AT_ONCE))
        assert talk.final is not None
        assert len(talk.sent) == 3

    def test_the_last_answer_is_the_answer(self):
        """When the attempts are used up, the last answer is returned."""
        talk = Talk.of(prepared("GET", HOME), [503, 503, 502], Rules(retry=AT_ONCE))
        assert talk.final is not None
        assert talk.final.status_code == 502

    def test_the_last_error_is_the_error(self):
        """When the attempts are used up, the last error is raised."""
        last = ConnectionError("third")
        with pytest.raises(ConnectionError, match="third") as caught:
            Talk.of(prepared("GET", HOME), [ConnectionError("1"), ReadTimeout("2"), last], Rules(retry=AT_ONCE))
        assert caught.value is last

    def test_an_error_that_stays(self):
        """What will not pass is raised at once."""
        talk = Talk()
        with pytest.raises(InvalidBody):
            talk.run(prepared("GET", HOME), [InvalidBody("no"), 200], Rules(retry=AT_ONCE))
        assert len(talk.sent) == 1

    def test_a_pause_tells_what_it_is_for(self):
        """A Pause carries the request, the number of the attempt to come, and what ended the last one."""
        steps = conversation(prepared("GET", HOME), Rules(retry=Retry(attempts=3, backoff=0)))
        request: Any = next(steps)
        error = ServerDisconnected("gone")
        pause = steps.throw(error)
        assert isinstance(pause, Pause)
        assert (pause.seconds, pause.request, pause.attempt, pause.error, pause.response) == (
            0,
            request,
            2,
            error,
            None,
        )
        request = next(steps)
        response = answer(request, 503)
        pause = steps.send(response)
        assert isinstance(pause, Pause)
        assert (pause.attempt, pause.error, pause.response) == (3, None, response)

    def test_the_server_may_set_the_pause(self):
        """Retry-After is waited for."""
        talk = Talk.of(prepared("GET", HOME), [(429, {"Retry-After": "7"}), 200], Rules(retry=Retry()))
        assert talk.pauses == [7.0]

    def test_each_hop_has_its_attempts(self):
        """A redirect begins to count anew."""
        script = [503, 503, to("/next"), 503, 503, 200]
        talk = Talk.of(prepared("GET", HOME), script, Rules(retry=Retry(attempts=3, backoff=0)))
        assert [request.target.path for request in talk.sent] == ["/home"] * 3 + ["/next"] * 3
        assert talk.final is not None
        assert [response.status_code for response in talk.final.history] == [302]

    def test_each_letter_of_a_challenge_has_its_attempts(self):
        """So does the answer to a challenge, and its credentials go with each attempt."""
        script = [503, CHALLENGE, 503, 503, 200]
        rules = Rules(auth=DigestAuth("u", "p"), retry=Retry(attempts=3, backoff=0))
        talk = Talk.of(prepared("GET", HOME), script, rules)
        assert ["Authorization" in request.headers for request in talk.sent] == [False, False, True, True, True]

    def test_cookies_of_an_attempt_go_with_the_next(self):
        """What a failed attempt's answer set is sent with the next one."""
        script = [(503, {"Set-Cookie": "a=1; Path=/"}), 200]
        talk = Talk.of(prepared("GET", HOME), script, Rules(retry=AT_ONCE))
        assert talk.last.headers["Cookie"] == "a=1"

    async def test_a_one_shot_body_is_not_tried_again(self):
        """A body that has begun and can be read once leaves its answer or error the last."""
        request = prepared("PUT", HOME, data=iter([b"data"]), headers={"Content-Length": "4"})
        assert request.body is not None
        assert [chunk async for chunk in request.body] == [b"data"]
        talk = Talk.of(request, [503], Rules(retry=AT_ONCE))
        assert talk.final is not None
        assert talk.final.status_code == 503

    def test_a_body_goes_with_each_attempt(self):
        """The same description is sent each time."""
        request = prepared("PUT", HOME, data=io.BytesIO(b"data"))
        talk = Talk.of(request, [503, ServerDisconnected("gone"), 200], Rules(retry=AT_ONCE))
        assert [sent.body for sent in talk.sent] == [request.body] * 3


class TestExpectations:
    def test_417_sends_again_without_it(self):
        """A server that can't meet the expectation is asked without it (RFC 9110, section 15.5.18), and at once."""
        request = prepared("POST", HOME, data=b"data", headers={"Expect": "100-continue"})
        talk = Talk.of(request, [417, 200])
        assert ["Expect" in sent.headers for sent in talk.sent] == [True, False]
        assert talk.last.body is request.body
        assert talk.pauses == []
        assert talk.sent[0].headers["Expect"] == "100-continue"

    def test_417_for_another_reason_is_the_answer(self):
        """Without the expectation there is nothing to leave out."""
        request = prepared("POST", HOME, data=b"data", headers={"Expect": "100-continue"})
        talk = Talk.of(request, [417, 417])
        assert talk.final is not None
        assert talk.final.status_code == 417

    async def test_417_for_a_body_that_has_begun(self):
        """A one-shot body of which bytes were taken can't be sent again."""
        request = prepared(
            "POST", HOME, data=iter([b"data"]), headers={"Expect": "100-continue", "Content-Length": "4"}
        )
        assert request.body is not None
        assert [chunk async for chunk in request.body] == [b"data"]
        with pytest.raises(UnrewindableBodyError):
            Talk.of(request, [417, 200])

    def test_417_before_a_redirect(self):
        """What was left out once stays left out at the next hop."""
        request = prepared("POST", HOME, data=b"data", headers={"Expect": "100-continue"})
        talk = Talk.of(request, [417, to("/next", 307), 200])
        assert ["Expect" in sent.headers for sent in talk.sent] == [True, False, False]


class TestAllTogether:
    def test_a_long_conversation(self):
        """Retries, a challenge, redirects and cookies in one call: each request is as it should be."""
        rules = Rules(auth=DigestAuth("u", "p"), retry=AT_ONCE, call_cookies={"own": "1"})
        request = prepared("PUT", HOME, data=b"data", headers={"Content-Type": "x/y"})
        script = [
            ServerDisconnected("gone"),
            CHALLENGE,
            503,
            (307, {"Location": "/second", "Set-Cookie": "kept=2; Path=/"}),
            to("http://other.example/third", 307),
            503,
            to("http://example.org/fourth", 303),
            200,
        ]
        talk = Talk.of(request, script, rules)
        assert [
            (
                sent.method,
                sent.url,
                "Authorization" in sent.headers,
                sent.headers.get("Cookie"),
                sent.headers.get("Content-Type"),
            )
            for sent in talk.sent
        ] == [
            ("PUT", HOME, False, "own=1", "x/y"),
            ("PUT", HOME, False, "own=1", "x/y"),
            ("PUT", HOME, True, "own=1", "x/y"),
            ("PUT", HOME, True, "own=1", "x/y"),
            ("PUT", "http://example.org/second", True, "kept=2; own=1", "x/y"),
            ("PUT", "http://other.example/third", False, None, "x/y"),
            ("PUT", "http://other.example/third", False, None, "x/y"),
            ("GET", "http://example.org/fourth", True, "kept=2; own=1", None),
        ]
        assert talk.final is not None
        assert [response.status_code for response in talk.final.history] == [401, 307, 307, 303]
        assert len(talk.pauses) == 3

    def test_a_history_knows_its_past(self):
        """Each answer on the way has the ones before it."""
        talk = Talk.of(prepared("GET", HOME), [to("/1"), to("/2"), 200])
        assert talk.final is not None
        first, second = talk.final.history
        assert (first.history, second.history) == ([], [first])
