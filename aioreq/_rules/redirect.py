"""Where a redirect leads, and what of the request goes along (RFC 9110, section 15.4)."""

from __future__ import annotations

from collections.abc import Iterable

from .._headers import Headers
from .._message import PreparedRequest, Response
from .._url import Target
from ..exceptions import RequestException

_STATUSES = frozenset((301, 302, 303, 307, 308))
# What describes a body goes when the body goes; so does every field whose name begins with "Content-".
_BODY_FIELDS = ("Transfer-Encoding", "Expect", "Digest", "Repr-Digest", "Trailer")
# What proves who we are is for the origin it was given for.
SECRET_FIELDS = ("Authorization", "Cookie", "Proxy-Authorization")


def redirected(request: PreparedRequest, response: Response) -> PreparedRequest | None:
    """The next request that a redirect asks for, or None when the answer is not one.

    301 and 302 turn POST into GET, 303 everything but HEAD; 307 and 308 keep method and body.

    Args:
        request: as it was before an auth object put anything on it: what that was is for its origin only, under
            whatever name, and is put on anew where it may be.
        response: the answer, with the request as it was sent.

    Raises:
        InvalidURL: the Location leads nowhere.
        RequestException: it leads from https to http, and the request carries credentials.
        UnrewindableBodyError: the body must go along, but can't be read again.
    """
    if response.status_code not in _STATUSES:
        return None
    location = response.headers.get("Location")
    if location is None:
        return None
    target = response.request.target.join(_decoded(location))
    following = request.copy()
    following.target = target
    _change_method(following, response.status_code)
    if target.origin != request.target.origin:
        _refuse_downgrade(request, target, response)
        following.headers["Host"] = target.host
        _drop(following.headers, SECRET_FIELDS)
    if "Expect" not in response.request.headers:
        following.headers.popall("Expect", None)  # this server could not meet the expectation
    if following.body is not None:
        following.body.require_fresh()
    return following


def _decoded(location: str) -> str:
    """Servers write UTF-8 there, which came in as latin-1."""
    try:
        return location.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return location


def _change_method(request: PreparedRequest, status: int) -> None:
    becomes_get = (status == 303 and request.method != "HEAD") or (status in (301, 302) and request.method == "POST")
    if not becomes_get:
        return
    request.method = "GET"
    request.body = None
    _drop(request.headers, _BODY_FIELDS)
    _drop(request.headers, [name for name in request.headers if name.lower().startswith("content-")])


def _drop(headers: Headers, names: Iterable[str]) -> None:
    for name in names:
        headers.popall(name, None)


def _refuse_downgrade(request: PreparedRequest, target: Target, response: Response) -> None:
    sent = response.request.headers
    by_auth = (name for name in sent if name not in request.headers)
    secrets = list(dict.fromkeys((*(name for name in SECRET_FIELDS if name in sent), *by_auth)))
    if request.target.scheme == "https" and target.scheme == "http" and secrets:
        raise RequestException(
            f"{request.url} redirects to {target.url}, from https to http, and the request carries credentials "
            f"({', '.join(secrets)}): it is not followed. If that is meant, send a request of its own there, without "
            "auth= and cookies",
            request=request,
            response=response,
        )
