"""What aioreq encodes is read back by the parsers that servers use, for any name, any file and any byte."""

import io
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aioreq.multipart import MultipartParam, multipart_encode
from tests.parsers import ParsedPart, Parser

EVERY_BYTE = bytes(range(256))


async def joined(chunks: AsyncIterable[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def read_back(parser: Parser, params: Any) -> list[ParsedPart]:
    datagen, headers = multipart_encode(params)
    return parser.parse(await joined(datagen), headers["Content-Type"])


def on_the_wire(text: str) -> str:
    """A name as the WHATWG rules escape it."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def expected(parser: Parser, name: str, filename: str | None, content_type: str, data: bytes) -> ParsedPart:
    """What the parser, by its record, makes of a part with these names."""
    return ParsedPart(
        name=parser.expected_name(on_the_wire(name)),
        filename=None if filename is None else parser.expected_filename(on_the_wire(filename)),
        content_type=parser.expected_content_type(content_type),
        data=data,
    )


NAMES = [
    "plain",
    " spaces around ",
    'quo"te',
    "CR LF\r\nX-Injected: yes",
    'a"; filename="b',
    "semi; colon=x",
    "back\\slash",
    "é 日本語 😀",
    "100% %22 %0A",
    "a/b:c",
    "field[0][key]",
]


class TestNames:
    @pytest.mark.parametrize("name", NAMES)
    async def test_a_name_of_a_field_is_read_back(self, parser: Parser, name: str):
        """A field's name arrives, and never becomes anything else: a filename, a header, a part."""
        assert await read_back(parser, [(name, "value")]) == [
            expected(parser, name, None, "text/plain; charset=utf-8", b"value")
        ]

    @pytest.mark.parametrize("name", NAMES)
    async def test_a_filename_is_read_back(self, parser: Parser, name: str):
        """A filename arrives as the parser's record says, beside a name like it."""
        param = MultipartParam(name, EVERY_BYTE, filename=name, filetype="x/y")
        assert await read_back(parser, [param]) == [expected(parser, name, name, "x/y", EVERY_BYTE)]

    async def test_the_name_of_a_file_on_disk_is_read_back(self, parser: Parser, tmp_path: Path):
        """A file on disk arrives under its base name."""
        path = tmp_path / "été 😀; x=y.bin"
        path.write_bytes(EVERY_BYTE)
        with path.open("rb") as file:
            parts = await read_back(parser, [("path", path), ("file", file)])
        octets = "application/octet-stream"
        assert parts == [
            expected(parser, "path", "été 😀; x=y.bin", octets, EVERY_BYTE),
            expected(parser, "file", "été 😀; x=y.bin", octets, EVERY_BYTE),
        ]


texts = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.lists(st.sampled_from(['"', "\\", "\r", "\n", ";", "=", "%22", " ", "'", "a", "é", "😀"]), max_size=6).map(
        "".join
    ),
)
contents = st.lists(
    st.one_of(st.binary(max_size=8), st.sampled_from([EVERY_BYTE, b"\r\n", b"--", b"\r\n--", b"\r", b"\n", b"-"])),
    max_size=4,
).map(b"".join)
fields = st.builds(lambda name, value: (name, None, value.encode()), texts, texts)
files = st.tuples(texts, texts, contents)


@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(parts=st.lists(st.one_of(fields, files), min_size=1, max_size=4))
async def test_any_form_is_read_back(parser: Parser, parts: list[tuple[str, str | None, bytes]]):
    """Any fields and files, of any names and any bytes, arrive in their order and as they were."""
    names = [on_the_wire(text) for name, filename, _ in parts for text in (name, filename or "")]
    assume(not any(map(parser.misreads, names)))
    params = [
        MultipartParam(name, data, filetype="text/plain")
        if filename is None
        else MultipartParam(name, fileobj=io.BytesIO(data), filename=filename, filetype="application/octet-stream")
        for name, filename, data in parts
    ]
    wanted = [
        expected(parser, name, filename, "text/plain" if filename is None else "application/octet-stream", data)
        for name, filename, data in parts
    ]
    assert await read_back(parser, params) == wanted


async def test_every_byte_of_a_value_arrives(parser: Parser):
    """A value of all 256 bytes is no text, and arrives as it is."""
    [part] = await read_back(parser, {"field": EVERY_BYTE * 2})
    assert (part.name, part.data) == ("field", EVERY_BYTE * 2)


async def test_a_text_value_is_utf8(parser: Parser):
    """A text value arrives in UTF-8, its line ends untouched."""
    [part] = await read_back(parser, {"field": "é 日本\r\nline\nline\r😀"})
    assert part.data == "é 日本\r\nline\nline\r😀".encode()


async def test_an_empty_value_and_an_empty_file_are_parts(parser: Parser, tmp_path: Path):
    """What is empty is sent as well."""
    (tmp_path / "empty").touch()
    parts = await read_back(parser, [("field", ""), ("file", tmp_path / "empty"), ("last", "x")])
    assert [(part.name, part.data) for part in parts] == [("field", b""), ("file", b""), ("last", b"x")]


async def test_headers_of_a_part_do_not_hide_its_data(parser: Parser):
    """Further headers of a part stand in its head, and its data behind them."""
    param = MultipartParam("file", b"data", filename="f", headers={"X-Checksum": "abc", "X-Note": "é"})
    [part] = await read_back(parser, [param])
    assert (part.name, part.filename, part.data) == ("file", "f", b"data")
