"""From what the caller said to what goes on the wire: URL, headers and body put together and checked."""

from __future__ import annotations

import numbers
import re
from collections.abc import Iterator, Mapping
from typing import Any

from .._body import Body, Segment, bytes_body, form_body, json_body
from .._headers import Headers, checked_header, header_pairs
from .._message import PreparedRequest, Request
from .._source import describe, is_measured_by_seeking
from .._url import Target, is_absolute, parse_url, with_params
from ..exceptions import InvalidBody, InvalidHeader, InvalidURL, URLRequired
from ..multipart._encode import MultipartBody
from ..multipart._param import MultipartParam

_EXPECTS_BODY = frozenset(("POST", "PUT", "PATCH"))
_BOUNDARY = re.compile(r"""boundary\s*=\s*(?:"([^"]*)"|([^\s"';,]+))""", re.IGNORECASE)


class Defaults:
    """What a session adds to each of its requests.

    Args:
        headers: a mapping or pairs; None as a value removes the default of that name.
        params: added to every URL's query; a request's own of the same name replace them.
        base_url: what relative URLs are appended to, or None.

    Raises:
        InvalidHeader, InvalidURL: ``headers``, ``params`` or ``base_url`` can't mean anything.
    """

    def __init__(self, own: Headers, headers: Any, params: Any, base_url: Any) -> None:
        self.headers = merged(own, headers)
        if not isinstance(params, Iterator):  # which could be asked once only
            with_params("", params or ())
        self.params = params
        self.base_url = None if base_url is None else _checked_base(base_url)


def _checked_base(base_url: Any) -> str:
    text = _text_of(base_url)
    try:
        parse_url(text)
    except ValueError as error:
        raise InvalidURL(f"base_url= is a whole URL, such as 'https://example.org/api': {error}") from error
    return text


def merged(base: Headers, headers: Any) -> Headers:
    """``base`` with ``headers`` put over it; None as a value removes a name.

    Raises:
        InvalidHeader: one of them may not go on the wire.
    """
    result = Headers(base)
    replaced: set[str] = set()
    for name, value in header_pairs(headers):
        if value is None:
            result.popall(checked_header(name, "")[0], None)
            continue
        for single in value if isinstance(value, (list, tuple)) else (value,):
            name, text = checked_header(name, single)
            if name.lower() in replaced:
                result.add(name, text)
            else:
                replaced.add(name.lower())
                result[name] = text
    return result


def prepare(request: Request, defaults: Defaults, expect_continue: bool | None = None) -> PreparedRequest:
    """Everything decided but credentials and cookies.

    Raises:
        URLRequired, InvalidURL, InvalidHeader, InvalidBody, FileUnreadable: before anything is sent.
    """
    target = _target(request, defaults)
    headers = Headers((("Host", target.host),))
    headers.extend(merged(defaults.headers, request.headers) if request.headers else defaults.headers)
    if len(hosts := headers.getall("Host")) > 1:
        headers["Host"] = hosts[-1]  # the caller's own
    body = _body(request, headers)
    _describe_body(request.method, headers, body)
    wanted = expect_continue if expect_continue is not None else body is not None and not body.replayable
    if wanted and body is not None and body.length != 0:
        headers["Expect"] = "100-continue"
    return PreparedRequest(request.method, target, headers, body)


def may_block(request: Request) -> bool:
    """Whether :func:`prepare` has to find sizes in a way that takes long, and is better run in a thread."""
    if request.files:
        return any(map(is_measured_by_seeking, _leaves((request.data, request.files))))
    return not isinstance(request.data, (Body, dict, str, bytes)) and is_measured_by_seeking(request.data)


def _leaves(value: Any) -> Iterator[Any]:
    """All that stands in mappings, lists and tuples; what can be asked once only is left alone."""
    if isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(item)
    else:
        yield value


def _target(request: Request, defaults: Defaults) -> Target:
    url: Any = request.url
    if url is None:
        raise URLRequired("a request needs a URL")
    url = _text_of(url)
    if defaults.base_url is not None and not is_absolute(url):
        url = f"{defaults.base_url.rstrip('/')}/{url.lstrip('/')}"
    if defaults.params or request.params:
        for params in _layers(defaults.params, request.params):
            url = with_params(url, params) if params else url
    return parse_url(url)


def _text_of(url: Any) -> str:
    """A URL as text: it may be bytes, or an object of some library that is written as one."""
    if isinstance(url, str):
        return url
    return url.decode("utf-8", "replace") if isinstance(url, bytes) else str(url)


def _layers(session: Any, own: Any) -> tuple[Any, ...]:
    """Mappings are merged by name, as requests does it; anything else stands behind the session's params."""
    if isinstance(session, Mapping) and isinstance(own, Mapping):
        return ({**session, **own},)
    return session, own


def _body(request: Request, headers: Headers) -> Body | None:
    if request.json is not None and (request.data or request.files):
        raise InvalidBody("json= can't go along with data= or files=: a request has one body")
    if request.files:
        return _form_with_files(request, headers)
    if request.json is not None:
        return json_body(request.json)
    data = request.data
    if isinstance(data, Body):
        return _chunked_if_asked(data, headers)
    if data is None or (_is_empty(data) and "Transfer-Encoding" not in headers):
        return None
    if isinstance(data, (dict, Mapping)) or _is_pairs(data):
        return form_body(data)
    if isinstance(data, (list, tuple)) and all(isinstance(item, (bytes, bytearray, memoryview)) for item in data):
        return _chunked_if_asked(bytes_body(b"".join(data)), headers)
    return _chunked_if_asked(Body((_raw_segment(data, headers),)), headers)


def _form_with_files(request: Request, headers: Headers) -> Body:
    data = request.data or ()
    if isinstance(data, (str, bytes)) or not (isinstance(data, (dict, Mapping)) or hasattr(data, "__iter__")):
        raise InvalidBody("data= beside files= holds fields: pass a mapping or pairs, not a string")
    params = MultipartParam.from_params(_fields(data)) + MultipartParam.from_files(request.files)
    content_type = headers.get("Content-Type")
    if content_type is None:
        return MultipartBody(params)
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise InvalidHeader(
            "the header Content-Type is set beside files=, but names no boundary: leave it out, and it is made"
        )
    body = MultipartBody(params, boundary[2] if boundary[1] is None else boundary[1])
    # Quoted as it is in the body: any other way of writing it would be another boundary.
    named = f"boundary={body.boundary.decode('ascii')}"
    headers["Content-Type"] = content_type[: boundary.start()] + named + content_type[boundary.end() :]
    return body


def _fields(data: Any) -> Iterator[Any]:
    """The fields beside files: a tuple is several values here, as it is in a form without files."""
    for item in data.items() if isinstance(data, (dict, Mapping)) else data:
        if isinstance(item, (tuple, list)) and len(item) == 2 and isinstance(item[1], tuple):
            yield from ((item[0], value) for value in item[1])
        else:
            yield item


def _is_empty(data: Any) -> bool:
    return isinstance(data, (str, bytes, Mapping, list, tuple)) and not data


def _is_pairs(data: Any) -> bool:
    return isinstance(data, (list, tuple)) and all(isinstance(item, (list, tuple)) and len(item) == 2 for item in data)


def _raw_segment(data: Any, headers: Headers) -> Segment:
    if isinstance(data, numbers.Number):
        raise InvalidBody(f"{data!r} is a number, which is no body: pass text or bytes, or json=")
    chunked = "Transfer-Encoding" in headers
    return describe(data, None if chunked else _declared_length(headers), chunked=chunked)


def _declared_length(headers: Headers) -> int | None:
    if "Content-Length" not in headers:
        return None
    declared: str = headers["Content-Length"]
    if not (declared.isascii() and declared.isdigit()):
        raise InvalidHeader(f"the header Content-Length is {declared!r}, not a number of bytes")
    return int(declared)


def _chunked_if_asked(body: Body, headers: Headers) -> Body:
    if "Transfer-Encoding" in headers:
        return body.without_length()
    return body


def _describe_body(method: str, headers: Headers, body: Body | None) -> None:
    """The headers that tell the server how long the body is and of which kind."""
    declared = _declared_length(headers)
    if "Transfer-Encoding" in headers:
        if headers["Transfer-Encoding"].lower() != "chunked" or body is None or declared is not None:
            raise InvalidHeader(
                "the header Transfer-Encoding can only be 'chunked', on a request with a body and no Content-Length"
            )
        if body.length is not None:
            raise InvalidHeader("a form has a length: leave the header Transfer-Encoding out")
    else:
        length = 0 if body is None else body.length
        if declared is not None and declared != length:
            raise InvalidHeader(f"the header Content-Length says {declared}, but the body has {length} bytes")
        if body is not None or method in _EXPECTS_BODY:
            headers["Content-Length"] = str(length)
    if body is not None and body.content_type is not None and "Content-Type" not in headers:
        headers["Content-Type"] = body.content_type
