"""The standard library's email package, as RFC 2046 reads a multipart message."""

from email.feedparser import BytesFeedParser
from email.message import Message
from typing import cast

from ._shape import ParsedPart, Parser, ends_in_a_backslash, without_doubled_backslashes


class _FormMessage(Message):
    """A message in which only the form itself has parts.

    A file of type message/rfc822 or multipart/mixed is a file to a form, and the feed parser would open it.
    """

    def get_content_type(self) -> str:
        declared = super().get_content_type()
        return declared if declared == "multipart/form-data" else "application/octet-stream"


class _EmailReader:
    """Feeds the form with its Content-Type for a head, since a message says itself what it is.

    Names are unquoted as quoted strings: a pair of backslashes becomes one, percent signs stay. A form without parts
    is none, since RFC 2046 section 5.1 asks for one part at least. These have no switch.
    """

    def __init__(self, content_type: str) -> None:
        self._parser: BytesFeedParser[_FormMessage] = BytesFeedParser(_FormMessage)
        self._parser.feed(b"Content-Type: " + content_type.encode() + b"\r\n\r\n")

    def feed(self, chunk: bytes) -> None:
        self._parser.feed(chunk)

    def finish(self) -> list[ParsedPart]:
        form = self._parser.close()
        defects = [defect for message in form.walk() for defect in message.defects]
        if defects or not form.is_multipart():
            raise ValueError(f"not a complete form: {defects!r}")
        return [_parsed(part) for part in cast("list[_FormMessage]", form.get_payload())]


def _parsed(part: _FormMessage) -> ParsedPart:
    # A form's parts are sent as they are (RFC 7578 section 4.7), so no encoding is undone.
    del part["Content-Transfer-Encoding"]
    head = _head_in_utf8(part)
    name = head.get_param("name", header="Content-Disposition")
    if name is None:
        raise ValueError("a part without a name")
    return ParsedPart(
        name=cast("str", name),
        filename=cast("str | None", head.get_param("filename", header="Content-Disposition")),
        content_type=head["Content-Type"],
        data=cast("bytes", part.get_payload(decode=True)),
    )


def _head_in_utf8(part: _FormMessage) -> Message:
    """The headers of `part` with their bytes read as UTF-8: it takes all beyond ASCII for an unknown charset."""
    head = Message()
    for name, value in part.raw_items():
        head[name] = value.encode("ascii", "surrogateescape").decode()
    return head


EMAIL = Parser(
    name="email",
    begin=_EmailReader,
    expected_name=without_doubled_backslashes,
    expected_filename=without_doubled_backslashes,
    misreads=ends_in_a_backslash,
    needs_a_part=True,
)
