"""The parsers of the tests read what is on the wire, and where one does not, its record says so."""

import subprocess
from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.parsers import PARSERS, ParsedPart, Parser
from tests.parsers._shape import pieces

BOUNDARY = b"0123456789abcdef"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY.decode()}"
EVERY_BYTE = bytes(range(256))

WIRE_VALUES = [
    "plain",
    " spaces  within and around ",
    "tab\there",
    "semicolon; filename=x",
    "equals=sign",
    "single'quote",
    "<angle>",
    "comma,colon:",
    "a/b",
    "quote%22",
    "%0D%0A",
    "%0d%0a",
    "%41 is no A",
    "100%",
    "back\\slash",
    "doubled\\\\backslash",
    "\\\\\\three",
    "percent\\%22",
    "C:\\folder\\file",
    "\\\\host\\share\\file",
    "\\\\\\\\host\\file",
    "ends in a backslash\\",
    "ends in two\\\\",
    "ends in three\\\\\\",
    "\\",
    "é",
    "日本語",
    "😀 smile",
    "e\u0301",
    "\u2028\x85",
    "=?utf-8?q?encoded=20word?=",
    "utf-8''extended",
    "control\x01",
    "nul\x00",
    "escape\x1b",
    "delete\x7f",
]

DATA = [
    b"",
    b"text",
    EVERY_BYTE,
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n\r\n\r",
    b"ends in a line\r\n",
    b"\r\nbegins with one",
    b"--",
    b"\r\n--",
    b"\r\n--" + BOUNDARY[:-1],
    b"--" + BOUNDARY[:-1] + b"\r\n",
    b"-" * 40,
    b"Header: like\r\n\r\nthis",
]


def form(*parts: ParsedPart) -> bytes:
    """The body of a form whose names are on the wire as they are."""
    return b"".join(map(_section, parts)) + b"--" + BOUNDARY + b"--\r\n"


def _section(part: ParsedPart) -> bytes:
    head = f'Content-Disposition: form-data; name="{part.name}"'
    if part.filename is not None:
        head += f'; filename="{part.filename}"'
    if part.content_type is not None:
        head += f"\r\nContent-Type: {part.content_type}"
    return b"--" + BOUNDARY + b"\r\n" + head.encode() + b"\r\n\r\n" + part.data + b"\r\n"


def expected(parser: Parser, part: ParsedPart) -> ParsedPart:
    """What the parser's record says that it makes of the part."""
    return ParsedPart(
        name=parser.expected_name(part.name),
        filename=None if part.filename is None else parser.expected_filename(part.filename),
        content_type=parser.expected_content_type(part.content_type),
        data=part.data,
    )


def field(name: str = "field", data: bytes = b"value", content_type: str | None = None) -> ParsedPart:
    return ParsedPart(name, None, content_type, data)


def file(filename: str = "file.bin", data: bytes = EVERY_BYTE, name: str = "file") -> ParsedPart:
    return ParsedPart(name, filename, "application/octet-stream", data)


def byte_by_byte(body: bytes) -> Sequence[int]:
    return range(1, len(body))


class TestNames:
    @pytest.mark.parametrize("wire_value", WIRE_VALUES)
    def test_a_name_is_read_as_the_record_says(self, parser: Parser, wire_value: str):
        """A parser reads a name in front of a filename as its record says, unless the record says that it cannot."""
        part = file(name=wire_value)
        try:
            read = parser.parse(form(part), CONTENT_TYPE)
        except ValueError:
            read = None
        assert (read != [expected(parser, part)]) is parser.misreads(wire_value)

    def test_names_are_read_alike_in_fields_and_files(self, parser: Parser):
        """The name of a field and the filename of a file are read as the record says, whole and byte by byte."""
        wire_values = [value for value in WIRE_VALUES if not parser.misreads(value)]
        parts = [part for value in wire_values for part in (field(value), file(value, b"data"))]
        body = form(*parts)
        wanted = [expected(parser, part) for part in parts]
        assert parser.parse(body, CONTENT_TYPE) == wanted
        assert parser.parse(body, CONTENT_TYPE, byte_by_byte(body)) == wanted

    def test_an_empty_name(self, parser: Parser):
        """A part may have a name without a character."""
        part = field("")
        assert parser.parse(form(part), CONTENT_TYPE) == [expected(parser, part)]

    def test_an_empty_filename(self, parser: Parser):
        """A filename without a character, which a form sends for a file not chosen, is what the record says."""
        part = file("", b"")
        assert parser.parse(form(part), CONTENT_TYPE) == [expected(parser, part)]

    def test_a_long_name(self, parser: Parser):
        """A name of 8 KiB, twice of what servers allow by default, is read."""
        part = file("x" * 8192, b"")
        assert parser.parse(form(part), CONTENT_TYPE) == [expected(parser, part)]


class TestData:
    @pytest.mark.parametrize("data", DATA, ids=repr)
    def test_data_is_read_exactly(self, parser: Parser, data: bytes):
        """The bytes of fields and files come back as they are, between parts and at the end, however they are fed."""
        parts = [field(data=data), file(data=data), field(data=data)]
        body = form(*parts)
        wanted = [expected(parser, part) for part in parts]
        assert parser.parse(body, CONTENT_TYPE) == wanted
        assert parser.parse(body, CONTENT_TYPE, byte_by_byte(body)) == wanted

    @pytest.mark.parametrize("data", [b"", b"\r\n", b"x--"])
    def test_data_is_read_alike_at_every_cut(self, parser: Parser, data: bytes):
        """Wherever a body is cut in two, it is the same."""
        parts = [field(data=data), file(data=data)]
        body = form(*parts)
        wanted = [expected(parser, part) for part in parts]
        for cut in byte_by_byte(body):
            assert parser.parse(body, CONTENT_TYPE, [cut]) == wanted, cut

    def test_a_large_part(self, parser: Parser):
        """A field and a file of 3 MiB are read; fields are limited to less in servers."""
        parts = [field(data=EVERY_BYTE * 12 * 1024), file(data=EVERY_BYTE * 12 * 1024)]
        assert parser.parse(form(*parts), CONTENT_TYPE) == [expected(parser, part) for part in parts]

    def test_many_parts(self, parser: Parser):
        """Parts keep their order, and the same name may come more than once."""
        parts = [part for number in range(300) for part in (field(data=b"%d" % number), file(data=b"%d" % number))]
        assert parser.parse(form(*parts), CONTENT_TYPE) == [expected(parser, part) for part in parts]

    @pytest.mark.parametrize("text", ["ascii", "é", "Ã©", "日本語 😀", ""])
    def test_a_field_that_names_its_charset(self, parser: Parser, text: str):
        """A field of text/plain; charset=utf-8 comes back as its bytes too."""
        part = field(data=text.encode(), content_type="text/plain; charset=utf-8")
        assert parser.parse(form(part), CONTENT_TYPE) == [expected(parser, part)]


class TestContentType:
    @pytest.mark.parametrize(
        "content_type", [None, "text/plain", "Text/HTML", 'text/x; charset="utf-8"; a=b', "image/svg+xml"]
    )
    def test_a_file_has_its_content_type(self, parser: Parser, content_type: str | None):
        """The Content-Type of a part is as the record says."""
        part = ParsedPart("file", "name", content_type, b"data")
        assert parser.parse(form(part), CONTENT_TYPE) == [expected(parser, part)]

    @pytest.mark.parametrize("content_type", ["message/rfc822", "multipart/mixed; boundary=inner", "multipart/mixed"])
    def test_a_file_is_not_opened(self, parser: Parser, content_type: str):
        """A file that is a message or has parts of its own is a file like any other."""
        data = b"--inner\r\nSubject: x\r\n\r\ntext\r\n--inner--\r\n"
        part = ParsedPart("file", "mail.eml", content_type, data)
        assert parser.parse(form(part, field()), CONTENT_TYPE) == [expected(parser, part), expected(parser, field())]

    def test_an_encoding_is_not_undone(self, parser: Parser):
        """A part's Content-Transfer-Encoding leaves its data alone."""
        body = form(file(data=b"dGV4dA==")).replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n", 1)
        assert [part.data for part in parser.parse(body, CONTENT_TYPE)] == [b"dGV4dA=="]

    def test_a_quoted_boundary(self, parser: Parser):
        """The boundary may stand in quotes, and hold what only quotes allow."""
        body = form(field()).replace(BOUNDARY, b"a b:c")
        assert parser.parse(body, 'multipart/form-data; boundary="a b:c"') == [expected(parser, field())]


class TestWhatIsNoForm:
    def test_no_parts(self, parser: Parser):
        """A form without parts is read as none, or an error where the record says that it is."""
        if parser.needs_a_part:
            with pytest.raises(ValueError):
                parser.parse(form(), CONTENT_TYPE)
        else:
            assert parser.parse(form(), CONTENT_TYPE) == []

    def test_a_body_cut_off(self, parser: Parser):
        """Every body that ends before its closing boundary is an error: a short body never passes for a form."""
        body = form(field(), file()).removesuffix(b"\r\n")
        assert len(parser.parse(body, CONTENT_TYPE)) == 2
        for end in range(len(body)):
            with pytest.raises(ValueError):
                parser.parse(body[:end], CONTENT_TYPE)

    @pytest.mark.parametrize(
        "content_type",
        [
            "text/plain",
            "multipart/form-data",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=other",
        ],
    )
    def test_another_content_type(self, parser: Parser, content_type: str):
        """A body whose Content-Type is not its own is an error."""
        with pytest.raises(ValueError):
            parser.parse(form(field()), content_type)

    def test_the_next_form_is_read_again(self, parser: Parser):
        """An error in one form is of no consequence to the next."""
        with pytest.raises(ValueError):
            parser.parse(b"no form", CONTENT_TYPE)
        assert parser.parse(form(field()), CONTENT_TYPE) == [expected(parser, field())]


wire_values = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters='"\r\n'), max_size=20),
    st.lists(st.sampled_from(["\\", "%22", "%0D", "%", ";", "=", "a", " ", ":", "é"]), max_size=8).map("".join),
)
data = st.lists(st.one_of(st.binary(max_size=10), st.sampled_from(DATA)), max_size=5).map(b"".join)
parts = st.one_of(st.builds(field, wire_values, data), st.builds(file, wire_values, data, wire_values))


@settings(max_examples=150, derandomize=True, database=None, deadline=None)
@given(parts=st.lists(parts, min_size=1, max_size=4), split=st.data())
def test_any_form_is_read_as_the_record_says(parser: Parser, parts: list[ParsedPart], split: st.DataObject):
    """Any form that its record does not exclude is read as the record says, fed in any pieces."""
    assume(not any(parser.misreads(value) for part in parts for value in (part.name, part.filename or "")))
    body = form(*parts)
    assume(body.count(b"--" + BOUNDARY) == len(parts) + 1)
    cuts = split.draw(st.lists(st.integers(0, len(body)), max_size=10).map(sorted))
    assert parser.parse(body, CONTENT_TYPE, cuts) == [expected(parser, part) for part in parts]


def test_the_parsers_differ():
    """No two parsers but those that unquote alike give the same for all names: a record is not a copy of another."""
    read = {
        parser.name: [(parser.expected_name(value), parser.expected_filename(value)) for value in WIRE_VALUES]
        for parser in PARSERS.values()
    }
    alike = {frozenset(pair) for pair in combinations(read, 2) if read[pair[0]] == read[pair[1]]}
    assert alike == {frozenset({"email", "busboy"})}


def test_pieces():
    """A body is cut at the offsets, and no piece is empty."""
    assert list(pieces(b"abcdef", [])) == [b"abcdef"]
    assert list(pieces(b"abcdef", [0, 2, 2, 5, 6])) == [b"ab", b"cde", b"f"]
    assert list(pieces(b"abc", byte_by_byte(b"abc"))) == [b"a", b"b", b"c"]
    assert list(pieces(b"", [0])) == []


class TestLifetime:
    def test_busboy_ends_with_its_context(self, monkeypatch: pytest.MonkeyPatch):
        """busboy's process runs while its parser is opened, and no longer."""
        processes: list[subprocess.Popen[bytes]] = []

        class Recorded(subprocess.Popen[bytes]):
            def __init__(self, *arguments, **options):
                super().__init__(*arguments, **options)
                processes.append(self)

        monkeypatch.setattr(subprocess, "Popen", Recorded)
        with PARSERS["busboy"].opened():
            assert processes[0].poll() is None
        assert processes[0].returncode == 0
