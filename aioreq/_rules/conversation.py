"""A call as a conversation: which request comes next, given the answer to the last.

``conversation(request, rules)`` is a generator. It yields a request and is sent the answer (or thrown the error),
yields a Pause to have time pass and a Reading to have a file read, and returns the final answer. It has no socket and
no clock, so every policy can be tested with ``next`` and ``send``:

    redirects        the outermost: a new request for each hop
      credentials    an exchange of letters with the auth object
        attempts     the same request again, after a pause, as the Retry allows
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, NamedTuple, Protocol

from .._message import PreparedRequest, Response
from .._netrc import Netrc
from .._url import Origin
from ..exceptions import RequestException, TooManyRedirects
from .auth import Auth, BasicAuth, NetrcAuth, autoauth_for
from .cookies import Cookies, cookie_header, cookies_of, names_a_domain
from .redirect import redirected
from .retry import Retry
from .suffixes import SUFFIXES


class Pause(NamedTuple):
    """Let time pass before the conversation goes on with another attempt.

    Attributes:
        seconds: how much.
        request: what will be sent again.
        attempt: the number of the attempt to come.
        error: what ended the last attempt, or None.
        response: the answer to the last attempt, or None.
    """

    seconds: float
    request: PreparedRequest
    attempt: int
    error: RequestException | None = None
    response: Response | None = None


class Readable(Protocol):
    """A file that the rules go by, kept in memory."""

    @property
    def due(self) -> bool:
        """Whether it is not read yet, or has changed."""

    def read(self) -> None:
        """Read it; this may block."""


class Reading(NamedTuple):
    """Have a file read, where it is due and off the event loop, before the conversation goes on.

    Attributes:
        file: what is needed next.
    """

    file: Readable


class Rules:
    """What a conversation goes by.

    Attributes:
        auth: the call's or the session's credentials, for the call's own origin only; or None.
        cookies: the session's.
        call_cookies: this call's, for its own origin only.
        allow_redirects: whether redirects are followed.
        max_redirects: how many.
        retry: the policy, or None.
        netrc: the file that has credentials for requests without any, as it was read last; or None.
    """

    __slots__ = ("allow_redirects", "auth", "call_cookies", "cookies", "max_redirects", "netrc", "retry")

    def __init__(
        self,
        *,
        auth: Auth | None = None,
        cookies: Cookies | None = None,
        call_cookies: dict[str, str] | None = None,
        allow_redirects: bool = True,
        max_redirects: int = 30,
        retry: Retry | None = None,
        netrc: Netrc | None = None,
    ) -> None:
        self.auth = auth
        self.cookies = Cookies() if cookies is None else cookies
        self.call_cookies = call_cookies or {}
        self.allow_redirects = allow_redirects
        self.max_redirects = max_redirects
        self.retry = retry
        self.netrc = netrc

    def changed(self, **changes: Any) -> Rules:
        """These rules, some of them others."""
        return Rules(**{name: getattr(self, name) for name in self.__slots__} | changes)


class _Home(NamedTuple):
    """Where the call was made to: the caller's secrets are for this origin only."""

    origin: Origin
    credentials: tuple[str, str] | None  # of the URL
    has_cookie_header: bool  # the caller's own, which is left as it is


Said = PreparedRequest | Pause | Reading
Step = Generator[Said, Response, Response]


def begins_with(request: PreparedRequest, rules: Rules) -> bool:
    """Whether the conversation begins with the request as it is: there are no credentials and no cookies for it.

    Most are like that, and if the answer is an end as well (:func:`ends_with`), there is nothing to talk about: that
    saves a tenth of the time that a small request takes.
    """
    return not (
        rules.auth is not None
        or rules.call_cookies
        or rules.cookies
        or request.target.credentials is not None
        or (rules.netrc is not None and not rules.netrc.is_empty)
        or autoauth_for(request.target) is not None
    )


def ends_with(response: Response, rules: Rules) -> bool:
    """Whether the conversation that :func:`begins_with` its first request ends with this answer to it."""
    status = response.status_code
    return (
        status < 300
        and "set-cookie" not in response.headers
        and (rules.retry is None or not rules.retry.may_follow(status))
    )


def conversation_after(request: PreparedRequest, rules: Rules) -> Step:
    """The conversation that :func:`begins_with` this request, which was sent already: it wants to hear of that."""
    # A copy, which may be changed before it goes out again.
    talk = conversation(request.copy(), rules, has_begun=True)
    next(talk)
    return talk


def conversation(request: PreparedRequest, rules: Rules, *, has_begun: bool = False) -> Step:
    """The whole of it; returns the final answer with its ``history``.

    Args:
        request: the first one.
        rules: what it goes by.
        has_begun: the request was sent without credentials: whose they would be is not asked again, since a netrc file
            may have been read and an auth object been added since.

    Raises:
        TooManyRedirects: there were more than ``max_redirects``.
        UnrewindableBodyError: the body must go out again, and can't.
        RequestException: what an exchange raised, when nothing more is to be tried.
    """
    history: list[Response] = []
    home = _Home(request.target.origin, request.target.credentials, "Cookie" in request.headers)
    hops = 0
    letters = _attempts(request, rules, home) if has_begun else _authenticated(request, rules, home, history)
    while True:
        response = yield from letters
        following = redirected(request, response) if rules.allow_redirects else None
        if following is None:
            response.history = history
            return response
        response.history = list(history)
        hops += 1
        if hops > rules.max_redirects:
            raise TooManyRedirects(
                f"more than {rules.max_redirects} redirects, the last to {following.url}",
                request=response.request,
                response=response,
            )
        history.append(response)
        request = following
        letters = _authenticated(request, rules, home, history)


def _authenticated(request: PreparedRequest, rules: Rules, home: _Home, history: list[Response]) -> Step:
    auth = _given_auth(request, rules, home)
    if isinstance(auth, NetrcAuth):
        yield Reading(auth.netrc)
    if auth is None and rules.netrc is not None and not rules.netrc.is_empty:
        auth = _looked_up(request, rules.netrc, home)
    if auth is None:
        return (yield from _attempts(request, rules, home))
    flow = auth.flow(request.copy())  # what it puts on is for this origin: a redirect starts without it
    if not isinstance(flow, Iterator):
        raise TypeError(f"{type(auth).__name__}.flow() gave {flow!r}: it is a generator, and yields the request")
    letter = _checked_letter(next(flow, None), auth)
    while True:
        # A copy goes out: what response.request shows must stay as it was sent.
        response = yield from _attempts(letter.copy(), rules, home)
        try:
            letter = _checked_letter(flow.send(response), auth)
        except StopIteration:
            return response
        if letter.body is not None:
            letter.body.require_fresh()
        history.append(response)


def _checked_letter(letter: Any, auth: Auth) -> PreparedRequest:
    if not isinstance(letter, PreparedRequest):
        raise TypeError(f"{type(auth).__name__}.flow() yields the request it was given, not {letter!r}")
    return letter


def _given_auth(request: PreparedRequest, rules: Rules, home: _Home) -> Auth | None:
    """The caller's credentials at home; elsewhere only what was meant for that place."""
    at_home = request.target.origin == home.origin
    if at_home and (rules.auth is not None or "Authorization" in request.headers):
        return rules.auth
    credentials = request.target.credentials or (home.credentials if at_home else None)
    if credentials is not None:
        return BasicAuth(*credentials)
    return autoauth_for(request.target)


def _looked_up(request: PreparedRequest, netrc: Netrc, home: _Home) -> Auth | None:
    """What a netrc file has for this place: not over the caller's own header, nor in the clear after https."""
    if "Authorization" in request.headers or (home.origin[0] == "https" and request.target.scheme == "http"):
        return None
    try:
        # The file's default entry is for the server that the caller named, not for all that this one redirects to.
        entry = netrc.find(request.target.origin[1], by_name=request.target.origin != home.origin)
        return None if entry is None else BasicAuth(*entry)
    except RequestException as error:
        netrc.ignore(error)
        return None


def _attempts(request: PreparedRequest, rules: Rules, home: _Home) -> Step:
    attempt = 1
    while True:
        _put_cookies(request, rules, home)
        try:
            response = yield request
        except RequestException as error:
            delay = rules.retry.after_error(request, error, attempt) if rules.retry else None
            if delay is None:
                raise
            pause = Pause(delay, request, attempt + 1, error=error)
        else:
            yield from _keep_cookies(response, rules)
            if response.status_code == 417 and "Expect" in request.headers:
                request = _without_expect(request)
                continue
            delay = rules.retry.after_answer(request, response, attempt) if rules.retry else None
            if delay is None:
                return response
            pause = Pause(delay, request, attempt + 1, response=response)
        attempt += 1
        yield pause


def _put_cookies(request: PreparedRequest, rules: Rules, home: _Home) -> None:
    at_home = request.target.origin == home.origin
    if at_home and home.has_cookie_header:
        return
    if not (rules.cookies or rules.call_cookies or "Cookie" in request.headers):
        return
    found = rules.cookies.going_with(request, rules.call_cookies if at_home else None)
    request.headers.popall("Cookie", None)
    if found:
        request.headers["Cookie"] = cookie_header(found)


def _keep_cookies(response: Response, rules: Rules) -> Generator[Said, Response, None]:
    if "Set-Cookie" not in response.headers:
        return
    if names_a_domain(response):
        yield Reading(SUFFIXES)
    rules.cookies.keep(response)
    response.cookies = cookies_of(response)


def _without_expect(request: PreparedRequest) -> PreparedRequest:
    """The server can't meet the expectation: ask again without it (RFC 9110, section 15.5.18)."""
    if request.body is not None:
        request.body.require_fresh()
    again = request.copy()
    again.headers.popall("Expect", None)
    return again
