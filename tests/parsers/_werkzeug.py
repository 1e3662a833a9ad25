"""Werkzeug, which Flask reads forms with."""

import re

from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import NEED_DATA, Data, Epilogue, Field, File, MultipartDecoder, Preamble

from ._shape import ParsedPart, Parser, ends_in_a_lone_backslash


class _WerkzeugReader:
    """Pulls the decoder's events.

    Names are unquoted as quoted strings, where a backslash goes and the character behind it stays, and %22 becomes a
    quote, while %0D and %0A stay. Filenames keep their path. These have no switch.

    Hyphens at the end of a piece are kept back for the next one: Werkzeug 3.1 adds a CR to a part's data if it is fed
    up to the first of the two hyphens that close the form (pallets/werkzeug issue 3285).
    """

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        if kind != "multipart/form-data" or "boundary" not in options:
            raise ValueError(f"not the type of a form: {content_type!r}")
        self._parts: list[ParsedPart] = []
        self._data = bytearray()
        self._hyphens = b""
        self._decoder = MultipartDecoder(options["boundary"].encode())

    def feed(self, chunk: bytes) -> None:
        chunk = self._hyphens + chunk
        ready = chunk.rstrip(b"-")
        self._hyphens = chunk[len(ready) :]
        self._decoder.receive_data(ready)
        self._take_events()

    def finish(self) -> list[ParsedPart]:
        self._decoder.receive_data(self._hyphens)
        self._decoder.receive_data(None)
        self._take_events()
        return self._parts

    def _take_events(self) -> None:
        while (event := self._decoder.next_event()) is not NEED_DATA:
            match event:
                case Preamble(data=data) if data:
                    raise ValueError("bytes in front of the first boundary")
                case File() | Field():
                    self._head = event
                case Data(data=data, more_data=more_data):
                    self._data += data
                    if not more_data:
                        self._end_part()
                case Epilogue():
                    return

    def _end_part(self) -> None:
        head = self._head
        if head.name is None:
            raise ValueError("a part without a name")
        filename = head.filename if isinstance(head, File) else None
        self._parts.append(ParsedPart(head.name, filename, head.headers.get("content-type"), bytes(self._data)))
        self._data.clear()


def _expected_name(wire_value: str) -> str:
    return re.sub(r"\\(.)", r"\1", wire_value).replace("%22", '"')


WERKZEUG = Parser(
    name="werkzeug",
    begin=_WerkzeugReader,
    expected_name=_expected_name,
    expected_filename=_expected_name,
    misreads=ends_in_a_lone_backslash,
)
