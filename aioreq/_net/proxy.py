"""What is said to a proxy before it lets bytes pass."""

from __future__ import annotations

import socket

from .._headers import Headers
from .._rules.route import Proxy, authority
from .._url import Origin
from .._wire.http1 import AnswerParser, Head, encode_fields, encode_head
from ..exceptions import ExtraRequired, ProxyError, RemoteProtocolError
from .stream import Stream

# 407 is the one (RFC 9110, section 15.5.8); tinyproxy says 401 to credentials that are wrong.
_WANTS_CREDENTIALS = (401, 407)


async def open_tunnel(stream: Stream, proxy: Proxy, origin: Origin) -> None:
    """Have an HTTP proxy pass bytes on to ``origin`` (CONNECT: RFC 9110, section 9.3.6).

    Raises:
        ProxyError: it refuses, with the status it said so with; or it could not be understood.
    """
    place = authority(*origin[1:])
    fields = Headers({"Host": place})
    if proxy.authorization is not None:
        fields["Proxy-Authorization"] = proxy.authorization
    stream.write(encode_head("CONNECT", place, encode_fields(fields)))
    parser = AnswerParser("CONNECT")
    try:
        head = await _final_head(stream, parser)
    except RemoteProtocolError as error:
        raise ProxyError(f"the proxy {proxy} could not be understood: {error}") from error
    if head.status >= 300:
        raise refusal(proxy, head.status, head.reason)
    if parser.surplus:
        raise ProxyError(f"the proxy {proxy} sent bytes of its own into the tunnel")


async def _final_head(stream: Stream, parser: AnswerParser) -> Head:
    while parser.head is None:
        data = await stream.receive()
        if data:
            parser.feed(data)
        else:
            parser.feed_eof()
    return parser.head


def refusal(proxy: Proxy, status: int, reason: str) -> ProxyError:
    """The error for an answer in which the proxy refuses."""
    said = f"{status} {reason}".strip()
    if status not in _WANTS_CREDENTIALS:
        advice = ""
    elif proxy.credentials is None:
        advice = ": it wants credentials, which go into its URL (http://user:password@host:port)"
    else:
        advice = ": it does not accept the credentials in its URL"
    return ProxyError(f"the proxy {proxy} refused with {said}{advice}", status_code=status)


async def pass_socks(sock: socket.socket, proxy: Proxy, host: str, port: int) -> socket.socket:
    """Have a SOCKS proxy pass bytes on to ``host``; see :func:`aioreq._net.socks.negotiate`.

    Raises:
        ExtraRequired: python-socks is not installed.
        ProxyError: the proxy refuses, or could not be understood.
    """
    require_socks(proxy)
    from .socks import negotiate

    return await negotiate(sock, proxy, host, port)


def require_socks(proxy: Proxy | None) -> None:
    """Refuse a SOCKS proxy where nobody could talk to it.

    Raises:
        ExtraRequired: python-socks is not installed.
    """
    if proxy is None or proxy.speaks_http:
        return
    try:
        import python_socks  # noqa: F401
    except ImportError as error:
        raise ExtraRequired(
            f"the proxy {proxy} needs the extra 'socks', which is not installed: pip install 'aioreq[socks]'"
        ) from error
