"""What all items of a bulk upload have in common, and the request that each becomes."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from .._body import Body, Bytes, Segment
from .._headers import header_pairs
from .._message import Request
from .._url import Origin, parse_url
from ..exceptions import InvalidBody, URLRequired
from ..multipart._encode import MultipartBody, file_form
from ..multipart._param import MultipartParam
from ._delivery import Delivery
from ._digest import Digest
from ._item import Unset, Upload
from ._place import quoted

Function = Callable[[Upload], Any]


@dataclass(frozen=True, slots=True)
class Job:
    """Where items go and how; each item may say otherwise for itself.

    Attributes:
        url: where to; or a function of the item, plain or async; or None when each item has its own.
        method: the method.
        field: the form's field, or None for raw bodies.
        data: fields of the form beside the file, or a function of the item.
        headers: of each request, or a function of the item.
        auth: credentials, as for any request.
        digest: what is computed of each source, or None.
    """

    url: str | Function | None
    method: str
    field: str | None
    data: Any = None
    headers: Any = None
    auth: Any = None
    digest: Digest | None = None

    def start(self, item: Upload) -> Delivery:
        """An item's delivery, with its URL where that can be known without waiting.

        Whatever goes wrong is noted in it.
        """
        try:
            url = self._url_now(item)
            return Delivery(item, url, _origin_of(url))
        except Exception as error:
            delivery = Delivery(item, None, None)
            delivery.problem = error
            return delivery

    def _url_now(self, item: Upload) -> str | None:
        if item.url is not None:
            return self._placed(item.url, item)
        if callable(self.url):
            return self._computed_now(self.url, item)
        if self.url is None:
            raise URLRequired(f"{item.label} has no URL: give it one, or give one to all")
        return self._placed(self.url, item)

    def _computed_now(self, url: Function, item: Upload) -> str | None:
        if inspect.iscoroutinefunction(url):
            return None
        computed = url(item)
        if computed is None:
            raise URLRequired(f"the function that gives URLs gave None for {item.label}")
        if not inspect.isawaitable(computed):
            return str(computed)
        if inspect.iscoroutine(computed):
            computed.close()  # it is called again when the item's turn comes
        return None

    def _placed(self, url: str, item: Upload) -> str:
        """The URL itself; for a raw upload to one that ends with a slash, the item's place beneath it (as curl -T)."""
        if self.field_of(item) is not None or not url.partition("?")[0].endswith("/"):
            return url
        name = item.file_name
        if name is None:
            raise InvalidBody(f"the URL {url} ends with a slash, but the item has no name: give it name=")
        place, mark, query = url.partition("?")
        return place + quoted(_relative(name)) + mark + query

    async def url_of(self, delivery: Delivery) -> str:
        """Where a delivery goes; an async function is asked anew each time, since what it gives may expire."""
        if delivery.url is not None:
            return delivery.url
        return str(await _value(self.url, delivery.item))

    def method_of(self, item: Upload) -> str:
        """The method for an item."""
        return item.method if item.method is not None else self.method

    def field_of(self, item: Upload) -> str | None:
        """The form's field for an item; None for a raw upload."""
        return self.field if isinstance(item.field, Unset) else item.field

    def request_now(self, delivery: Delivery) -> Request | None:
        """The request for a delivery whose bytes are ready, if nobody need be asked for any of it."""
        item = delivery.item
        has_own_headers = self.headers is not None or item.headers is not None or self.digest is not None
        if has_own_headers or delivery.url is None or (body := self._plain_body(delivery)) is None:
            return None
        request = Request(self.method_of(item), delivery.url)
        request.headers, request.data, request.auth = {"Idempotency-Key": delivery.key}, body, self.auth
        return request

    async def request(self, delivery: Delivery) -> Request:
        """The request for a delivery whose bytes are ready."""
        return Request(
            self.method_of(delivery.item),
            delivery.url if delivery.url is not None else await self.url_of(delivery),
            headers=await self._headers(delivery),
            data=self._plain_body(delivery) or await self._body(delivery),
            auth=self.auth,
        )

    async def _headers(self, delivery: Delivery) -> dict[str, Any]:
        item = delivery.item
        fields = {"idempotency-key": ("Idempotency-Key", delivery.key)}
        if self.digest is not None and delivery.digest is not None:
            carried = self.digest.header_field(delivery.digest, raw=self.field_of(item) is None)
            if carried is not None:
                fields[carried[0].lower()] = carried
        for given in (await _value(self.headers, item), item.headers):
            fields.update((str(name).lower(), (name, value)) for name, value in header_pairs(given))
        return dict(fields.values())

    def _plain_body(self, delivery: Delivery) -> Body | None:
        """The body if it is the source itself, or a form of nothing else; None if there is more in it."""
        item, segment = delivery.item, delivery.segment
        assert segment is not None
        field = self.field_of(item)
        if field is None:
            return Body((segment,), item.content_type)
        name = item.file_name or field
        if not name or self.data is not None or item.data is not None or self.digest is not None:
            return None
        return file_form(field, name, item.content_type, segment)

    async def _body(self, delivery: Delivery) -> Body:
        """A form of several fields."""
        item, segment = delivery.item, delivery.segment
        field = self.field_of(item)
        assert segment is not None
        assert field is not None
        params: list[MultipartParam] = []
        if self.data is not None or item.data is not None:
            for data in (await _value(self.data, item), item.data):
                params += MultipartParam.from_params(data) if data else ()
        if self.digest is not None and delivery.digest is not None:
            carried = self.digest.form_field(delivery.digest)
            params += MultipartParam.from_params([] if carried is None else [carried])
        name = item.file_name or field
        if isinstance(segment, Bytes):
            params.append(MultipartParam(field, segment.data, filename=name, filetype=item.content_type))
        else:
            params.append(MultipartParam(field, filename=name, filetype=item.content_type, fileobj=_Described(segment)))
        return MultipartBody(params)


class _Described:
    """A source that is a segment already."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment

    def as_segment(self, length: int | None) -> Segment:  # noqa: ARG002 - it has one
        return self._segment


async def _value(given: Any, item: Upload) -> Any:
    """What holds for an item: the value itself, or what the function gives for it."""
    if not callable(given):
        return given
    value = given(item)
    return await value if isinstance(value, Awaitable) else value


def _origin_of(url: str | None) -> Origin | None:
    """Whose lane it takes; what is relative to the session's base_url shares the lane of those not known yet."""
    return parse_url(url).origin if url is not None and "://" in url else None


def _relative(name: str) -> str:
    """A name that stays beneath the URL it is put to: no leading slash, no step upward."""
    return "/".join(part for part in name.split("/") if part not in ("", ".", ".."))
