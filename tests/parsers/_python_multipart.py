"""python-multipart, which Starlette and FastAPI read forms with."""

from python_multipart.multipart import MultipartParser, parse_options_header

from ._shape import (
    ParsedPart,
    Parser,
    ends_in_a_backslash,
    without_doubled_backslashes,
    without_windows_path,
)

_LONGEST_HEADER = 1 << 20
"""Bytes in one header line. The default of 4 KiB is a guard for servers, and no test is about it."""


class _PythonMultipartReader:
    """Collects what the parser calls back with.

    Names are unquoted as quoted strings: a pair of backslashes becomes one, percent signs stay. Only the filename
    loses a Windows path. These have no switch.
    """

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise ValueError(f"not the type of a form: {content_type!r}")
        self._parts: list[ParsedPart] = []
        self._complete = False
        self._parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
            max_header_size=_LONGEST_HEADER,
        )
        self._on_part_begin()

    def feed(self, chunk: bytes) -> None:
        self._parser.write(chunk)

    def finish(self) -> list[ParsedPart]:
        # finalize() does not check (yet) that the end has been reached.
        self._parser.finalize()
        if not self._complete:
            raise ValueError("the form has no closing boundary")
        return self._parts

    def _on_part_begin(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._data = bytearray()
        self._begin_header()

    def _begin_header(self) -> None:
        self._field = bytearray()
        self._value = bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._begin_header()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _on_part_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if b"name" not in options:
            raise ValueError("a part without a name")
        self._parts.append(
            ParsedPart(
                name=options[b"name"].decode(),
                filename=_decoded(options.get(b"filename")),
                content_type=_decoded(self._headers.get(b"content-type")),
                data=bytes(self._data),
            )
        )

    def _on_end(self) -> None:
        self._complete = True


def _decoded(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _expected_filename(wire_value: str) -> str:
    return without_windows_path(without_doubled_backslashes(wire_value))


PYTHON_MULTIPART = Parser(
    name="python-multipart",
    begin=_PythonMultipartReader,
    expected_name=without_doubled_backslashes,
    expected_filename=_expected_filename,
    misreads=ends_in_a_backslash,
)
