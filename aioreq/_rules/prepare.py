"""From what the caller said to what goes on the wire: URL, headers and body put together and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from .._body import Body, Segment, bytes_body, form_body, json_body
from .._headers import Headers, checked_header, header_pairs, version_of
from .._message import Letterhead, PreparedRequest, Request, says_length
from .._source import base_name, describe, describe_path, is_measured_by_seeking, is_number, is_path
from .._url import Target, is_absolute, parse_url, with_params
from ..exceptions import InvalidBody, InvalidHeader, InvalidURL, URLRequired
from ..multipart._encode import MultipartBody, file_form
from ..multipart._param import MultipartParam

# Sessions talk to few hosts, as a rule.
_LETTERHEADS_KEPT = 256
_EXPECTS_BODY = frozenset(("POST", "PUT", "PATCH"))
# As text: compiled when first used, which few programs do.
_BOUNDARY = r"""(?i)boundary\s*=\s*(?:"([^"]*)"|([^\s"';,]+))"""


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
        self._letterheads: dict[str, Letterhead] = {}
        self._version = -1  # of the headers that these were made from

    def letterhead(self, host: str) -> Letterhead:
        """What all requests to ``host`` begin with.

        Copied, and not made, checked and written anew for each, it saves a tenth of a small request's time.
        """
        version = version_of(self.headers)
        if self._version != version:
            # Others than before, not the same ones cleared: a thread may be about to put one of the last version there.
            self._letterheads, self._version = {}, version
        kept = self._letterheads
        return kept.get(host) or self._new_letterhead(host, kept)

    def _new_letterhead(self, host: str, kept: dict[str, Letterhead]) -> Letterhead:
        if len(kept) >= _LETTERHEADS_KEPT:
            kept.clear()
        letterhead = kept[host] = Letterhead(_addressed(host, self.headers))
        return letterhead

    def hold_for(self, prepared: PreparedRequest) -> bool:
        """Whether a request that was made of these defaults would be made the same way now."""
        return prepared.letterhead is self.letterhead(prepared.target.host)


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


def prepare(
    request: Request, defaults: Defaults, expect_continue: bool | None = None, watched: bool = True
) -> PreparedRequest:
    """Everything decided but credentials and cookies.

    Args:
        request: what the caller wants.
        defaults: what the session adds.
        expect_continue: see :meth:`aioreq.Session.send`.
        watched: whether somebody is to be told how far each field of a form has come.

    Raises:
        URLRequired, InvalidURL, InvalidHeader, InvalidBody, FileUnreadable: before anything is sent.
    """
    target = _target(request, defaults)
    letterhead = defaults.letterhead(target.host)
    prepared = PreparedRequest(request.method, target, Headers(letterhead.headers), None, letterhead)
    if request.headers:
        pairs = header_pairs(request.headers)
        if _are_new(pairs, prepared.headers):
            for name, value in pairs:
                prepared.add(*checked_header(name, value))
        else:
            prepared.headers = _addressed(target.host, merged(defaults.headers, pairs))
    if request.data is not None or request.json is not None or request.files:
        body = prepared.body = _body(request, prepared.headers, watched)
        _describe_body(prepared, body)
        if body is not None and body.length != 0:
            wanted = expect_continue if expect_continue is not None else not body.replayable
            if wanted:
                prepared.headers["Expect"] = "100-continue"
    elif request.method in _EXPECTS_BODY or (
        says_length(prepared.headers) if request.headers else letterhead.says_length
    ):
        _describe_body(prepared, None)
    return prepared


def _are_new(pairs: Collection[tuple[Any, Any]], headers: Headers) -> bool:
    """Whether each is one more field, so that nothing has to be merged: as it is with an Idempotency-Key."""
    for name, value in pairs:
        if not isinstance(name, str) or not isinstance(value, str) or name in headers:
            return False
    return len(pairs) == 1 or len({name.lower() for name, _ in pairs}) == len(pairs)


def _addressed(host: str, fields: Headers) -> Headers:
    """The fields behind a Host, which stands first (RFC 9112, section 3.2); the caller's own takes its place."""
    headers = Headers((("Host", host),))
    headers.extend(fields)
    if len(hosts := headers.getall("Host")) > 1:
        headers["Host"] = hosts[-1]
    return headers


def may_block(request: Request) -> bool:
    """Whether :func:`prepare` has to find sizes in a way that takes long, and is better run in a thread."""
    if request.files:
        return _holds_slow(request.data) or _holds_slow(request.files)
    return not isinstance(request.data, (Body, dict, str, bytes)) and is_measured_by_seeking(request.data)


def _holds_slow(value: Any) -> bool:
    """Whether it is measured by seeking, or has such a thing in its mappings, lists and tuples.

    What can be asked once only is left alone.
    """
    if isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            if not is_path(item) and _holds_slow(item):
                return True
        return False
    if value is None or is_path(value):  # no Mapping: to ask that takes as long as all the rest here
        return False
    return any(map(_holds_slow, value.values())) if isinstance(value, Mapping) else is_measured_by_seeking(value)


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


def _body(request: Request, headers: Headers, watched: bool) -> Body | None:
    if request.json is not None and (request.data or request.files):
        raise InvalidBody("json= can't go along with data= or files=: a request has one body")
    if request.files:
        return _form_with_files(request, headers, watched)
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


def _lone_file(request: Request) -> tuple[str, Any] | None:
    """Field and path of a form that is nothing but one file on disk, as ``{"file": Path("photo.jpg")}`` has it."""
    files = request.files
    if request.data or type(files) is not dict or len(files) != 1:
        return None
    [item] = files.items()
    name, path = item
    is_plain = type(name) is str and name and is_path(path) and not isinstance(path, (str, tuple, list))
    return item if is_plain else None


def _form_with_files(request: Request, headers: Headers, watched: bool) -> Body:
    content_type = headers.get("Content-Type")
    # A tenth of the time that such an upload takes, if it is small.
    if not watched and content_type is None and (lone := _lone_file(request)) is not None:
        name, path = lone[0], os.fsdecode(lone[1])
        return file_form(name, base_name(path) or name, None, describe_path(path))
    params = _params_beside_files(request.data) if request.data else []
    params += MultipartParam.from_files(request.files)
    if content_type is None:
        return MultipartBody(params)
    boundary = re.search(_BOUNDARY, content_type)
    if boundary is None:
        raise InvalidHeader(
            "the header Content-Type is set beside files=, but names no boundary: leave it out, and it is made"
        )
    body = MultipartBody(params, boundary[2] if boundary[1] is None else boundary[1])
    # Quoted as it is in the body: any other way of writing it would be another boundary.
    named = f"boundary={body.boundary.decode('ascii')}"
    headers["Content-Type"] = content_type[: boundary.start()] + named + content_type[boundary.end() :]
    return body


def _params_beside_files(data: Any) -> list[MultipartParam]:
    if isinstance(data, (str, bytes)) or not (isinstance(data, (dict, Mapping)) or hasattr(data, "__iter__")):
        raise InvalidBody("data= beside files= holds fields: pass a mapping or pairs, not a string")
    return MultipartParam.from_params(_fields(data))


def _fields(data: Any) -> Iterator[Any]:
    """The fields beside files: a tuple is several values here, as it is in a form without files."""
    for item in data.items() if isinstance(data, (dict, Mapping)) else data:
        if isinstance(item, (tuple, list)) and len(item) == 2 and isinstance(item[1], tuple):
            yield from ((item[0], value) for value in item[1])
        else:
            yield item


def _is_empty(data: Any) -> bool:
    return isinstance(data, (dict, str, bytes, list, tuple, Mapping)) and not data


def _is_pairs(data: Any) -> bool:
    return isinstance(data, (list, tuple)) and all(isinstance(item, (list, tuple)) and len(item) == 2 for item in data)


def _raw_segment(data: Any, headers: Headers) -> Segment:
    if is_number(data):
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


def _describe_body(prepared: PreparedRequest, body: Body | None) -> None:
    """The headers that tell the server how long the body is and of which kind."""
    headers = prepared.headers
    is_said = "content-length" in headers or "content-type" in headers or "transfer-encoding" in headers
    if not is_said and body is not None and body.length is not None:
        prepared.add_framing(body.length, body.content_type)
        return
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
        if declared is not None:
            headers["Content-Length"] = str(length)  # it may have been written another way
        elif body is not None or prepared.method in _EXPECTS_BODY:
            prepared.add("Content-Length", str(length))
    if body is not None and body.content_type is not None and "Content-Type" not in headers:
        prepared.add("Content-Type", body.content_type)
