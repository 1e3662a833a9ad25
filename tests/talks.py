"""Conversations without a socket: requests as they would be sent, answers out of a script."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aioreq._headers import Headers
from aioreq._message import PreparedRequest, Request, Response
from aioreq._progress import Upload
from aioreq._rules.conversation import Pause, Reading, Rules, Said, Step, conversation
from aioreq._rules.prepare import Defaults, prepare
from aioreq.exceptions import RequestException

HeaderFields = dict[str, str] | Iterable[tuple[str, str]]


def prepared(method: str = "GET", url: str = "http://example.org/", **fields: Any) -> PreparedRequest:
    """The request as it would be sent by a session without defaults."""
    return prepare(Request(method, url, **fields), Defaults(Headers(), None, None, None), expect_continue=False)


def answer(
    request: PreparedRequest, status: int = 200, headers: HeaderFields = (), content: bytes | None = b""
) -> Response:
    """What a server says to a request."""
    return Response(
        status_code=status,
        reason="",
        headers=Headers(headers),
        http_version="HTTP/1.1",
        request=request,
        upload=Upload(0),
        content=content,
    )


def to(location: str, status: int = 302) -> tuple[int, dict[str, str]]:
    """A redirect, for the script of a Talk."""
    return status, {"Location": location}


@dataclass
class Talk:
    """A conversation that was driven to its end.

    Attributes:
        sent: the requests that went out, in order.
        pauses: the seconds that passed before some of them.
        final: the answer it ended with.
    """

    sent: list[PreparedRequest] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    final: Response | None = None

    @classmethod
    def of(cls, request: PreparedRequest, script: Iterable[Any], rules: Rules | None = None) -> "Talk":
        """Answer a request, and what follows from it, by a script.

        Args:
            request: the first one.
            script: for each request a status, a (status, headers) or the error that an exchange raises.
            rules: what the conversation goes by.
        """
        talk = cls()
        talk.run(request, script, rules)
        return talk

    def run(self, request: PreparedRequest, script: Iterable[Any], rules: Rules | None = None) -> None:
        """Like :meth:`of`; what was sent by then is there when it raises."""
        steps = conversation(request, rules or Rules())
        step = next(steps)
        left = iter(script)
        for said in left:
            try:
                step = self._ready(steps, step)
                self.sent.append(step)
                if isinstance(said, RequestException):
                    step = steps.throw(said)
                    continue
                status, headers = said if isinstance(said, tuple) else (said, ())
                step = steps.send(answer(step, status, headers))
                while isinstance(step, Reading):
                    step = self._read(steps, step)
            except StopIteration as end:
                self.final = end.value
                assert list(left) == [], "the conversation ended before the script"
                return
        raise AssertionError(f"the script is over, and {step!r} is still to be answered")

    def _ready(self, steps: Step, step: Said) -> PreparedRequest:
        """Let time pass and have files read until a request is to be sent."""
        while not isinstance(step, PreparedRequest):
            if isinstance(step, Pause):
                self.pauses.append(step.seconds)
                step = next(steps)
            else:
                step = self._read(steps, step)
        return step

    def _read(self, steps: Step, reading: Reading) -> Said:
        if reading.file.due:
            reading.file.read()
        return next(steps)

    @property
    def last(self) -> PreparedRequest:
        """The last request that went out."""
        return self.sent[-1]

    @property
    def urls(self) -> list[str]:
        """Where the requests went."""
        return [request.url for request in self.sent]
