"""A call as a conversation: policies acting on one another, with next(), send() and throw() for a server."""

import asyncio
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioreq import BasicAuth, BearerAuth, Cookies, DigestAuth, NetrcAuth, Retry, Session, add_autoauth
from aioreq._message import PreparedRequest, Response
from aioreq._net.http1 import Terms
from aioreq._netrc import Netrc
from aioreq._rules import auth
from aioreq._rules.conversation import Pause, Reading, Rules, begins_with, conversation, conversation_after, ends_with
from aioreq.exceptions import (
    ConnectionError,
    InvalidBody,
    ReadTimeout,
    RequestException,
    ServerDisconnected,
    UnrewindableBodyError,
)
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


# --- the shortcut

Script = Sequence[Any]
Saying = tuple[str, str, list[tuple[str, str]], bool]
"""A request as it was sent: method, URL, fields, and whether it had a body."""


class Heard(NamedTuple):
    """What can be seen of a call.

    Attributes:
        sent: the requests, as they were when they went out.
        pauses: how many attempts there had been when there was a pause.
        outcome: status, history and cookies of the answer; or the error.
        jar: the session's cookies afterwards.
    """

    sent: list[Saying]
    pauses: list[int]
    outcome: tuple[Any, ...]
    jar: list[tuple[str, str]]


def fields_of_request(request: PreparedRequest) -> list[tuple[str, str]]:
    """Its fields, without what is random in them."""
    return [(name, re.sub(r'(cnonce|response)="\w+"', "", value)) for name, value in request.headers.items()]


class ScriptedTransport:
    """Carries requests to a script: for each a (status, headers) or the error that an exchange raises; then 200."""

    def __init__(self, script: Script) -> None:
        self.sent: list[Saying] = []
        self._left: Iterator[Any] = iter(script)

    def carry(self, request: PreparedRequest) -> Response:
        self.sent.append((request.method, request.url, fields_of_request(request), request.body is not None))
        said = next(self._left, (200, {}))
        if isinstance(said, RequestException):
            raise said
        return answer(request, *said)

    async def exchange(self, request: PreparedRequest, _terms: Terms) -> Response:
        return self.carry(request)

    async def aclose(self) -> None:
        """Nothing is open."""


def outcome_of(response: Response) -> tuple[Any, ...]:
    return (
        response.status_code,
        [(past.status_code, past.request.url, fields_of_request(past.request)) for past in response.history],
        fields_of_request(response.request),
        dict(response.cookies),
    )


def in_full(request: PreparedRequest, rules: Rules, script: Script) -> Heard:
    """Have the whole conversation."""
    transport = ScriptedTransport(script)
    pauses = []
    talk = conversation(request, rules)
    said: Response | RequestException | None = None
    try:
        while True:
            step = talk.throw(said) if isinstance(said, RequestException) else talk.send(said)  # type: ignore[arg-type]
            said = None
            if isinstance(step, Pause):
                pauses.append(step.attempt)
            elif isinstance(step, Reading):
                step.file.read()
            else:
                try:
                    said = transport.carry(step)
                except RequestException as error:
                    said = error
    except StopIteration as end:
        outcome = outcome_of(end.value)
    except RequestException as error:
        outcome = type(error), str(error)
    return Heard(transport.sent, pauses, outcome, list(rules.cookies.items()))


async def by_a_session(request: PreparedRequest, rules: Rules, script: Script) -> Heard:
    """Have a session send it, which leaves out what nothing comes of."""
    transport = ScriptedTransport(script)
    pauses: list[int] = []
    hooks = {"attempt": lambda event: pauses.append(event.number)}
    async with Session(transport=transport, event_hooks=hooks, trust_env=False) as session:
        terms = Terms(hooks=session._hooks)
        try:
            outcome = outcome_of(await session._converse(request, rules, terms))
        except RequestException as error:
            outcome = type(error), str(error)
    return Heard(transport.sent, pauses, outcome, list(rules.cookies.items()))


LOCATIONS = ("/next", HOME, "http://other.example/", "https://example.org/", "http://:bad:/")
SET_COOKIES = ("a=1; Path=/", "b=2; Domain=example.org", "a=; Max-Age=0", "nonsense")
ERRORS = (ServerDisconnected, ReadTimeout, InvalidBody)
STATUSES = (200, 201, 204, 206, 299, 300, 301, 302, 303, 304, 307, 308, 400, 401, 404, 417, 429, 500, 503)

AUTHS = {
    "basic": lambda: BasicAuth("u", "p"),
    "digest": lambda: DigestAuth("u", "p"),
    "bearer": lambda: BearerAuth("token"),
}

answers = st.tuples(
    st.sampled_from(STATUSES),
    st.fixed_dictionaries(
        {},
        optional={
            "Location": st.sampled_from(LOCATIONS),
            "set-cookie": st.sampled_from(SET_COOKIES),
            "WWW-Authenticate": st.just(CHALLENGE[1]["WWW-Authenticate"]),
            "Retry-After": st.just("0"),
        },
    ),
)
errors = st.sampled_from(ERRORS).map(lambda kind: kind("gone"))
retries = st.builds(
    Retry,
    attempts=st.integers(1, 3),
    statuses=st.sampled_from([frozenset((429, 503)), frozenset((200, 204, 503)), frozenset()]),
    backoff=st.just(0),
)
rule_fields = st.fixed_dictionaries(
    {},
    optional={
        "auth": st.sampled_from(list(AUTHS)),
        "cookies": st.dictionaries(st.sampled_from(["a", "own"]), st.just("0"), max_size=1),
        "call_cookies": st.dictionaries(st.sampled_from(["a", "call"]), st.just("9"), max_size=1),
        "allow_redirects": st.booleans(),
        "max_redirects": st.integers(0, 2),
        "retry": retries,
        "netrc": st.sampled_from(["", "machine example.org login n password m", "default login n password m"]),
    },
)
requests = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "PUT"]),
        "url": st.sampled_from([HOME, "https://example.org/home", "http://user:secret@example.org/home"]),
    },
    optional={
        "data": st.just(b"data"),
        "headers": st.fixed_dictionaries(
            {},
            optional={
                "Authorization": st.just("own"),
                "Cookie": st.just("own=header"),
                "Expect": st.just("100-continue"),
                "Idempotency-Key": st.just("1"),
            },
        ),
    },
)


def rules_of(fields: dict[str, Any], netrc: Path) -> Rules:
    """Rules with an auth object, a cookie jar and a netrc file of their own."""
    fields = dict(fields)
    if "auth" in fields:
        fields["auth"] = AUTHS[fields["auth"]]()
    if "cookies" in fields:
        fields["cookies"] = Cookies(fields["cookies"])
    if "netrc" in fields:
        netrc.write_text(fields["netrc"])
        fields["netrc"] = Netrc(netrc)
        fields["netrc"].read()
    return Rules(**fields)


def fields_of(rules: Rules) -> list[Any]:
    return [getattr(rules, name) for name in Rules.__slots__]


@pytest.fixture(scope="module")
def netrc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a netrc file may be written."""
    return tmp_path_factory.mktemp("netrc") / "netrc"


class TestTheShortcut:
    """A request that nothing is put on, and whose answer nothing comes of, needs no conversation."""

    @settings(max_examples=400, derandomize=True, database=None, deadline=None)
    @given(fields=requests, rule_fields=rule_fields, script=st.lists(answers | errors, max_size=5))
    def test_it_makes_no_difference(
        self, netrc: Path, fields: dict[str, Any], rule_fields: dict[str, Any], script: list[Any]
    ):
        """Whatever the rules and the answers are, what is sent, what comes out and what is kept are the same.

        The rules, which other calls go by too, are what they were.
        """
        heard = in_full(prepared(**fields), rules_of(rule_fields, netrc), script)
        rules = rules_of(rule_fields, netrc)
        before = fields_of(rules)
        call_cookies = dict(rules.call_cookies)
        assert asyncio.run(by_a_session(prepared(**fields), rules, script)) == heard
        assert all(now is then for now, then in zip(fields_of(rules), before, strict=True))
        assert rules.call_cookies == call_cookies

    def test_what_it_is_for(self):
        """It is taken where there are no credentials and no cookies, and where the answer is an end."""
        request = prepared("GET", HOME)
        assert begins_with(request, Rules())
        assert begins_with(request, Rules(retry=AT_ONCE))
        assert ends_with(answer(request), Rules(retry=AT_ONCE))
        for rules in (
            Rules(auth=BasicAuth("u", "p")),
            Rules(cookies=Cookies({"a": "1"})),
            Rules(call_cookies={"a": "1"}),
        ):
            assert not begins_with(request, rules)
        assert not begins_with(prepared("GET", "http://user:secret@example.org/"), Rules())
        for response in (answer(request, 302), answer(request, 503), answer(request, 200, {"set-cookie": "a=1"})):
            assert not ends_with(response, Rules())
        assert not ends_with(answer(request), Rules(retry=Retry(statuses={200})))

    @pytest.mark.parametrize("way", ["netrc", "autoauth"])
    def test_credentials_that_come_too_late(self, netrc: Path, monkeypatch: pytest.MonkeyPatch, way: str):
        """What was sent without credentials is not sent once more because there are some by the time of its answer."""
        monkeypatch.setattr(auth, "_autoauth", [])
        rules = Rules(netrc=Netrc(netrc))
        assert rules.netrc
        request = prepared("POST", HOME, data=b"data")
        assert begins_with(request, rules)
        netrc.write_text("machine example.org login n password m")
        if way == "netrc":
            rules.netrc.read()
        else:
            add_autoauth(HOME, NetrcAuth(netrc))
        assert not begins_with(request, rules)
        talk = conversation_after(request, rules)
        response = answer(request, 401)
        with pytest.raises(StopIteration) as stopped:
            talk.send(response)
        assert stopped.value.value is response
        assert response.history == []

    def test_what_was_sent_stays_as_it_was(self):
        """What comes of the answer is put on other requests, not on the one that was sent."""
        request = prepared("GET", HOME)
        fields = list(request.headers.items())
        talk = conversation_after(request, Rules(retry=AT_ONCE))
        assert isinstance(talk.send(answer(request, 503, {"Set-Cookie": "a=1; Path=/"})), Pause)
        again: Any = next(talk)
        assert again.headers["Cookie"] == "a=1"
        assert list(request.headers.items()) == fields

    async def test_a_call_has_its_own_rules(self):
        """What one call says of auth, cookies, redirects and attempts holds for none of the others of its session."""
        transport = ScriptedTransport([])
        async with Session(transport=transport, trust_env=False) as session:
            before = session._rules
            fields = fields_of(before)
            options: dict[str, Any] = {"auth": ("u", "p"), "cookies": {"a": "1"}, "allow_redirects": False, "retry": 3}
            await session.get(HOME, **options)
            await session.get(HOME)
            first, second = (dict(headers) for _, _, headers, _ in transport.sent)
            assert (first["Cookie"], "Authorization" in first) == ("a=1", True)
            assert not {"Cookie", "Authorization"} & second.keys()
            assert session._rules is before
            assert all(now is then for now, then in zip(fields_of(before), fields, strict=True))
            assert not before.call_cookies
