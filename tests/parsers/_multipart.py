"""multipart, which Bottle reads forms with and which follows the WHATWG rules for names."""

from multipart import (  # type: ignore[import-untyped]
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from ._shape import ParsedPart, Parser, without_windows_path

_LONGEST_HEADER = 1 << 20
"""Bytes in one header line. The default of 4 KiB is a guard for servers, and no test is about it."""


class _MultipartReader:
    """Collects the parser's events.

    %0D, %0A and %22 in names are decoded, as the WHATWG rules encode them, and backslashes stay. Only the filename
    loses a Windows path. These have no switch.
    """

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        if kind != "multipart/form-data" or "boundary" not in options:
            raise ValueError(f"not the type of a form: {content_type!r}")
        self._parts: list[ParsedPart] = []
        self._data = bytearray()
        self._parser = PushMultipartParser(options["boundary"], max_header_size=_LONGEST_HEADER)

    def feed(self, chunk: bytes) -> None:
        for event in self._parser.parse(chunk):
            if isinstance(event, MultipartSegment):
                self._segment = event
            elif event:
                self._data += event
            else:
                self._end_part()

    def finish(self) -> list[ParsedPart]:
        self._parser.close()
        return self._parts

    def _end_part(self) -> None:
        part = self._segment
        self._parts.append(ParsedPart(part.name, part.filename, part.header("Content-Type"), bytes(self._data)))
        self._data.clear()


def _expected_name(wire_value: str) -> str:
    return wire_value.replace("%0D", "\r").replace("%0A", "\n").replace("%22", '"')


def _expected_filename(wire_value: str) -> str:
    return without_windows_path(_expected_name(wire_value))


MULTIPART = Parser(
    name="multipart",
    begin=_MultipartReader,
    expected_name=_expected_name,
    expected_filename=_expected_filename,
)
