"""poster's encode, property by property: what its callers relied on holds, and what was wrong in it is put right."""

import asyncio
import contextlib
import gzip
import io
import mimetypes
import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterable, Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import aiofiles
import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aioreq.multipart
from aioreq.exceptions import FileForbidden, FileIsDirectory, FileMissing, InvalidBody, UnrewindableBodyError
from aioreq.multipart import (
    MultipartParam,
    encode_and_quote,
    encode_file_header,
    encode_string,
    gen_boundary,
    get_body_size,
    get_headers,
    multipart_encode,
)

EVERY_BYTE = bytes(range(256))
Told = tuple[MultipartParam | None, int, int]


async def joined(chunks: AsyncIterable[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


def is_open(path: Path) -> bool:
    """Whether this process has the file open."""
    status = path.stat()
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.path.samestat(fd.stat(), status):
                return True
    return False


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A file of 256 bytes."""
    path = tmp_path / "picture.png"
    path.write_bytes(EVERY_BYTE)
    return path


class TestTheDocumentedExamples:
    """What poster's own documentation shows."""

    def test_the_eight_names(self):
        """aioreq.multipart has poster's eight names and no others."""
        assert set(aioreq.multipart.__all__) == {
            "MultipartParam",
            "encode_and_quote",
            "encode_file_header",
            "encode_string",
            "gen_boundary",
            "get_body_size",
            "get_headers",
            "multipart_encode",
        }

    async def test_pairs_and_params_under_one_name(self):
        """Two values of one name are both sent, each once, whether given as a pair or as a MultipartParam."""
        datagen, _ = multipart_encode([("key", "value1"), MultipartParam("key", "value2")])
        body = await joined(datagen)
        assert body.count(b"value1") == 1
        assert body.count(b"value2") == 1
        assert body.count(b'name="key"') == 2

    async def test_a_mapping(self):
        """A mapping of names to values is a form."""
        datagen, headers = multipart_encode({"key": "value1", "other": "value2"})
        body = await joined(datagen)
        assert body.count(b"value1") == body.count(b"value2") == 1
        assert headers["Content-Length"] == str(len(body))
        assert re.fullmatch(r"multipart/form-data; boundary=[0-9a-f]{32}", headers["Content-Type"])

    def test_the_boundary_is_in_the_header(self):
        """A boundary that was passed is the one in Content-Type."""
        _, headers = multipart_encode({"a": "b"}, boundary="BOUNDARY")
        assert headers["Content-Type"] == "multipart/form-data; boundary=BOUNDARY"

    async def test_a_whole_form_byte_for_byte(self, picture: Path):
        """A form is delimiter, head, empty line, data and CR LF for each part, and a closing delimiter (RFC 7578)."""
        datagen, _ = multipart_encode([("name", "value"), ("file", picture)], boundary="B")
        assert await joined(datagen) == (
            b"--B\r\n"
            b'Content-Disposition: form-data; name="name"\r\n'
            b"Content-Type: text/plain; charset=utf-8\r\n"
            b"\r\n"
            b"value\r\n"
            b"--B\r\n"
            b'Content-Disposition: form-data; name="file"; filename="picture.png"\r\n'
            b"Content-Type: image/png\r\n"
            b"\r\n" + EVERY_BYTE + b"\r\n"
            b"--B--\r\n"
        )

    async def test_a_form_without_fields(self):
        """A form of nothing is its closing delimiter."""
        datagen, headers = multipart_encode({}, boundary="B")
        assert await joined(datagen) == b"--B--\r\n"
        assert headers["Content-Length"] == "7"

    async def test_nothing_is_read_before_it_is_due(self, picture: Path):
        """multipart_encode stats a file and leaves it closed; its bytes are those it has when they are due."""
        datagen, _ = multipart_encode({"file": picture})
        assert not is_open(picture)
        picture.write_bytes(EVERY_BYTE[::-1])
        assert EVERY_BYTE[::-1] in await joined(datagen)


# Kinds of sources -------------------------------------------------------------------------------------------


@dataclass
class Made:
    """A source that was made for a test: what is passed for it, and the bytes that must arrive."""

    source: Any
    data: bytes
    filesize: int | None = None


Maker = Callable[[contextlib.ExitStack, Path, bytes], Made]


def _written(stack: contextlib.ExitStack, folder: Path, data: bytes) -> Path:
    """A new file of these bytes, which is gone when the stack is closed."""
    fd, name = tempfile.mkstemp(dir=folder)
    os.close(fd)
    path = Path(name)
    stack.callback(path.unlink)
    path.write_bytes(data)
    return path


def _text_of(data: bytes) -> str:
    return data.decode("latin-1")


def _in_memory(convert: Callable[[bytes], Any]) -> Maker:
    return lambda _stack, _folder, data: Made(convert(data), data)


def _number(make: Callable[[int], Any]) -> Maker:
    def made(_stack: contextlib.ExitStack, _folder: Path, data: bytes) -> Made:
        value = make(int.from_bytes(data[:7], "big") - 2**20)
        return Made(value, str(value).encode())

    return made


def _opened(*arguments: Any, **options: Any) -> Maker:
    def made(stack: contextlib.ExitStack, folder: Path, data: bytes) -> Made:
        return Made(stack.enter_context(_written(stack, folder, data).open(*arguments, **options)), data)

    return made


def _temporary(make: Callable[..., Any], **options: Any) -> Maker:
    def made(stack: contextlib.ExitStack, folder: Path, data: bytes) -> Made:
        file = stack.enter_context(make(**options))
        file.write(data)
        return Made(file, data)

    return made


def _gzip(stack: contextlib.ExitStack, folder: Path, data: bytes) -> Made:
    path = _written(stack, folder, gzip.compress(data, compresslevel=1))
    return Made(stack.enter_context(gzip.open(path)), data)


def _wrapped(wrapper: Any, mode: str) -> Maker:
    """aiofiles' and anyio's wrapper around a file that is open already."""

    def made(stack: contextlib.ExitStack, folder: Path, data: bytes) -> Made:
        return Made(wrapper(stack.enter_context(_written(stack, folder, data).open(mode))), data)

    return made


def _aiofile(file: Any) -> Any:
    return aiofiles.threadpool.wrap(file, loop=None, executor=None)


def _sync_iterator(_stack: contextlib.ExitStack, _folder: Path, data: bytes) -> Made:
    return Made(iter([data[:3], data[3:]]), data, len(data))


def _async_iterator(_stack: contextlib.ExitStack, _folder: Path, data: bytes) -> Made:
    async def generate():
        yield data[:3]
        yield data[3:]

    return Made(generate(), data, len(data))


class Unseekable(io.RawIOBase):
    """What a socket's file or a pipe's is like: it can be read, once."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        size = len(self._rest) if size < 0 else min(size, 70_000)
        block, self._rest = self._rest[:size], self._rest[size:]
        return block


class AsyncFile:
    """An object with ``async read`` alone."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    async def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


def _declared(kind: Callable[[bytes], Any]) -> Maker:
    return lambda _stack, _folder, data: Made(kind(data), data, len(data))


KINDS: dict[str, Maker] = {
    "bytes": _in_memory(bytes),
    "bytearray": _in_memory(bytearray),
    "memoryview": _in_memory(memoryview),
    "str": lambda _stack, _folder, data: Made(_text_of(data), _text_of(data).encode()),
    "int": _number(int),
    "float": _number(float),
    "Decimal": _number(Decimal),
    "Fraction": _number(lambda number: Fraction(number, 7)),
    "BytesIO": _in_memory(io.BytesIO),
    "StringIO": lambda _stack, _folder, data: Made(io.StringIO(_text_of(data), ""), _text_of(data).encode()),
    "path": lambda stack, folder, data: Made(_written(stack, folder, data), data),
    "open file": _opened("rb"),
    "unbuffered file": _opened("rb", buffering=0),
    "file open for update": _opened("r+b"),
    "text file": _opened("r", encoding="utf-8"),
    "latin-1 text file": _opened("r", encoding="latin-1", newline=None),
    "spooled in memory": _temporary(tempfile.SpooledTemporaryFile),
    "spooled on disk": _temporary(tempfile.SpooledTemporaryFile, max_size=1),
    "named temporary file": _temporary(tempfile.NamedTemporaryFile),
    "temporary file": _temporary(tempfile.TemporaryFile),
    "gzip": _gzip,
    "aiofiles": _wrapped(_aiofile, "rb"),
    "aiofiles text": _wrapped(_aiofile, "r"),
    "anyio": _wrapped(anyio.wrap_file, "rb"),
    "iterator": _sync_iterator,
    "async iterator": _async_iterator,
    "unseekable file": _declared(Unseekable),
    "async file": _declared(AsyncFile),
}
ONE_SHOT = {"iterator", "async iterator", "unseekable file", "async file"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


def param_for(made: Made, name: str = "field") -> MultipartParam:
    """The param that a pair of name and source becomes, with the size where it has to be told."""
    if made.filesize is not None:
        return MultipartParam(name, fileobj=made.source, filesize=made.filesize)
    [param] = MultipartParam.from_params([(name, made.source)])
    return param


class TestSources:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("data", [b"", b"short", EVERY_BYTE * 1024], ids=["empty", "short", "long"])
    async def test_every_kind_of_source_is_sent_whole(self, folder: Path, kind: str, data: bytes):
        """The bytes of every kind of source are sent, all of them and nothing else, as many as were announced."""
        with contextlib.ExitStack() as stack:
            made = KINDS[kind](stack, folder, data)
            param = param_for(made)
            datagen, headers = multipart_encode([param], boundary="B-B")
            body = await joined(datagen)
        assert body == param.encode_hdr("B-B") + made.data + b"\r\n--B-B--\r\n"
        assert headers["Content-Length"] == str(len(body))
        assert len(datagen) == len(body)
        assert param.get_size("B-B") == len(param.encode_hdr("B-B")) + len(made.data) + 2

    @settings(max_examples=60, derandomize=True, database=None, deadline=None)
    @given(
        fields=st.lists(
            st.tuples(st.text(max_size=12), st.sampled_from(list(KINDS)), st.binary(max_size=300)), max_size=8
        )
    )
    async def test_the_length_is_exact_for_any_mixture(self, folder: Path, fields: list[tuple[str, str, bytes]]):
        """Content-Length, len(datagen) and get_body_size are what is sent, whatever the form is mixed from."""
        with contextlib.ExitStack() as stack:
            sources = [(name, KINDS[kind](stack, folder, data)) for name, kind, data in fields]
            params = [param_for(made, name) for name, made in sources]
            boundary = gen_boundary()
            datagen, headers = multipart_encode(params, boundary)
            body = await joined(datagen)
        assert len(body) == len(datagen) == get_body_size(params, boundary)
        assert headers == get_headers(params, boundary)
        assert headers["Content-Length"] == str(len(body))
        wanted = [param.encode_hdr(boundary) + made.data for param, (_, made) in zip(params, sources, strict=True)]
        assert body == b"\r\n".join([*wanted, b"--" + boundary.encode() + b"--\r\n"])

    @pytest.mark.parametrize("kind", sorted(set(KINDS) - ONE_SHOT))
    async def test_datagen_starts_at_the_first_byte_each_time(self, folder: Path, kind: str):
        """datagen can be iterated any number of times, also after an iteration that was broken off."""
        with contextlib.ExitStack() as stack:
            made = KINDS[kind](stack, folder, EVERY_BYTE * 600)
            datagen, _ = multipart_encode({"field": made.source})
            first = await joined(datagen)
            async with contextlib.aclosing(aiter(datagen)) as broken_off:
                await anext(broken_off)
                await anext(broken_off)
            assert await joined(datagen) == first
        assert made.data in first

    @pytest.mark.parametrize("kind", sorted(ONE_SHOT))
    async def test_a_source_that_can_be_read_once_is_not_sent_twice(self, folder: Path, kind: str):
        """A second iteration over a one-shot source raises UnrewindableBodyError: it never sends an empty part."""
        with contextlib.ExitStack() as stack:
            made = KINDS[kind](stack, folder, EVERY_BYTE)
            datagen, _ = multipart_encode([param_for(made)])
            assert not datagen.replayable
            await joined(datagen)
            with pytest.raises(UnrewindableBodyError, match="can be read only once and has begun"):
                await joined(datagen)

    async def test_a_chosen_boundary_changes_nothing_of_that(self):
        """A source that is watched for a boundary is still one that can be read once."""
        param = MultipartParam("field", fileobj=iter([b"data"]), filesize=4)
        datagen, _ = multipart_encode([param], boundary="B")
        assert not datagen.replayable
        datagen.require_fresh()
        await joined(datagen)
        with pytest.raises(UnrewindableBodyError):
            datagen.require_fresh()

    async def test_the_callers_file_is_left_as_it_was(self, picture: Path):
        """A file that the caller opened is sent from its first byte, stays open, and keeps its position."""
        with picture.open("rb") as file:
            file.seek(100)
            datagen, _ = multipart_encode({"file": file})
            assert EVERY_BYTE in await joined(datagen)
            assert not file.closed
            assert file.tell() == 100
            assert file.read() == EVERY_BYTE[100:]

    async def test_a_file_like_object_is_sent_from_its_first_byte(self):
        """Where a file-like object stands does not matter, and it is not closed."""
        with tempfile.SpooledTemporaryFile() as file:
            file.write(EVERY_BYTE)
            datagen, _ = multipart_encode({"file": file})
            assert file.tell() == 256
            assert EVERY_BYTE in await joined(datagen)
            assert not file.closed

    @pytest.mark.parametrize("kind", ["open file", "spooled in memory", "gzip", "aiofiles"])
    async def test_one_file_object_is_in_several_uploads_at_once(self, folder: Path, kind: str):
        """Uploads of one file object do not disturb one another: each sends it whole."""
        data = random.Random(7).randbytes(300_000)
        with contextlib.ExitStack() as stack:
            source = KINDS[kind](stack, folder, data).source
            bodies = [multipart_encode({"file": source}, boundary="SEPARATOR")[0] for _ in range(8)]
            sent = await asyncio.gather(*map(joined, bodies))
        assert len(set(sent)) == 1
        assert data in sent[0]

    async def test_a_text_mode_file_sends_its_bytes_on_disk(self, tmp_path: Path):
        """Of a file in text mode the raw bytes are sent: not decoded, no line ends translated."""
        path = tmp_path / "notes.txt"
        path.write_bytes(b"\xef\xbb\xbfcaf\xe9\r\nline\rline\n\xff")
        with path.open("r", encoding="utf-8") as file:
            datagen, _ = multipart_encode({"file": file})
            assert b"\r\n\r\n\xef\xbb\xbfcaf\xe9\r\nline\rline\n\xff\r\n--" in await joined(datagen)

    async def test_what_was_written_and_not_flushed_is_sent(self, tmp_path: Path):
        """What sits in the buffer of a file open for update belongs to the file."""
        with (tmp_path / "new").open("w+b") as file:
            file.write(b"buffered")
            datagen, _ = multipart_encode({"file": file})
            assert b"\r\n\r\nbuffered\r\n--" in await joined(datagen)

    async def test_a_bytesio_gives_all_it_holds(self):
        """A BytesIO that was read to its end is sent whole."""
        file = io.BytesIO(b"content")
        file.read()
        datagen, _ = multipart_encode({"file": file})
        assert b"\r\n\r\ncontent\r\n" in await joined(datagen)
        assert file.tell() == 7


class TestProgress:
    """poster's callbacks."""

    async def test_the_callback_is_told_of_every_block(self, picture: Path):
        """cb(param, current, total) runs as blocks pass; `param` is None for the closing boundary, and the end is the
        total."""
        told: list[Told] = []
        field, file = MultipartParam("field", "value"), MultipartParam.from_file("file", picture)
        datagen, headers = multipart_encode([field, file], cb=lambda *arguments: told.append(arguments))
        total = int(headers["Content-Length"])

        passed = 0
        async for chunk in datagen:
            passed += len(chunk)
            assert told[-1][1] == passed
        currents = [current for _, current, _ in told]
        assert currents == sorted(set(currents))
        assert {whole for _, _, whole in told} == {total}
        assert told[-1] == (None, total, total)
        params = [param for param, _, _ in told]
        assert list(dict.fromkeys(map(id, params))) == [id(field), id(file), id(None)]

    async def test_a_large_file_is_told_of_in_steps(self, tmp_path: Path):
        """A file that takes several blocks is told of several times."""
        path = tmp_path / "large"
        path.write_bytes(bytes(400_000))
        told: list[Told] = []
        datagen, _ = multipart_encode({"file": path}, cb=lambda *arguments: told.append(arguments))
        await joined(datagen)
        assert len([1 for param, _, _ in told if param is not None]) > 3

    async def test_each_param_has_its_own_callback(self, picture: Path):
        """A param's cb counts that param's bytes alone, head and final CR LF included."""
        told: dict[str, list[Told]] = {"field": [], "file": []}
        params = [
            MultipartParam("field", "value", cb=lambda *arguments: told["field"].append(arguments)),
            MultipartParam("file", fileobj=picture, cb=lambda *arguments: told["file"].append(arguments)),
        ]
        datagen, _ = multipart_encode(params, boundary="B")
        await joined(datagen)
        for param in params:
            size = param.get_size("B")
            currents = [current for _, current, _ in told[param.name]]
            assert currents == sorted(set(currents))
            assert all(owner is param and total == size for owner, _, total in told[param.name])
            assert currents[-1] == size

    async def test_each_iteration_counts_from_the_start(self):
        """A second iteration tells the same as the first."""
        told: list[Told] = []
        datagen, _ = multipart_encode({"a": "b"}, cb=lambda *arguments: told.append(arguments))
        await joined(datagen)
        first = list(told)
        told.clear()
        await joined(datagen)
        assert told == first

    async def test_what_a_callback_raises_is_raised(self):
        """An exception in a callback ends the iteration and reaches the caller as it was raised."""

        class Stop(Exception):
            pass

        def refuse(_param: object, _current: int, _total: int) -> None:
            raise Stop

        datagen, _ = multipart_encode({"a": "b"}, cb=refuse)
        with pytest.raises(Stop):
            await joined(datagen)


_BOUNDARIES_OF_TWO = """
import os
from aioreq.multipart import gen_boundary

gen_boundary()
child = os.fork()
if child:
    os.waitpid(child, 0)
print(*(gen_boundary() for _ in range(100)))
"""


def python(program: str) -> str:
    """What a program prints, with every warning an error."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout


class TestBoundary:
    def test_random_boundaries_differ(self):
        """gen_boundary gives 128 random bits in hexadecimal."""
        made = {gen_boundary() for _ in range(100)}
        assert len(made) == 100
        assert all(re.fullmatch("[0-9a-f]{32}", boundary) for boundary in made)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    def test_a_fork_has_its_own(self):
        """Those that a parent has made and not used yet are never its child's."""
        ours, theirs = (set(line.split()) for line in python(_BOUNDARIES_OF_TWO).splitlines())
        assert len(ours) == len(theirs) == 100
        assert ours.isdisjoint(theirs)

    @pytest.mark.parametrize("value", ["--B", "text\r\n--B\r\nmore", b"\xff--B--", "x--Bx"])
    def test_a_chosen_boundary_must_not_be_in_a_value(self, value: Any):
        """A boundary that the caller chose and that is in a value raises ValueError before anything is sent."""
        with pytest.raises(ValueError, match="boundary found in the data of 'field'"):
            multipart_encode({"field": value}, boundary="B")
        with pytest.raises(ValueError, match="boundary found in the data of 'field'"):
            MultipartParam("field", value).encode("B")

    @pytest.mark.parametrize("before", [0, 1, 65536 - 6, 65536 - 1, 65536, 3 * 65536 - 3])
    async def test_a_chosen_boundary_must_not_be_in_a_file(self, tmp_path: Path, before: int):
        """A boundary in a file raises ValueError while it is read, also where it lies across two blocks."""
        path = tmp_path / "file"
        path.write_bytes(bytes(before) + b"--BOUNDARY" + bytes(10))
        datagen, _ = multipart_encode({"field": path}, boundary="BOUNDARY")
        with pytest.raises(ValueError, match="boundary found in the data of 'field'"):
            await joined(datagen)
        with pytest.raises(ValueError, match="boundary found in the data of 'field'"):
            await joined(MultipartParam("field", fileobj=path).iter_encode("BOUNDARY", blocksize=4))
        with pytest.raises(ValueError, match="boundary found in the data of 'field'"):
            MultipartParam("field", fileobj=path).encode("BOUNDARY")

    @pytest.mark.parametrize("size", range(1, 12))
    async def test_a_chosen_boundary_is_found_in_pieces_of_any_size(self, size: int):
        """However an iterator cuts the boundary up, it is found before its last byte is sent."""
        data = b"0123456789--BOUNDARY0123456789"
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        param = MultipartParam("field", fileobj=pieces, filesize=len(data))
        datagen, _ = multipart_encode([param], boundary="BOUNDARY")
        sent = bytearray()

        async def send() -> None:
            async for chunk in datagen:
                sent.extend(chunk)

        with pytest.raises(ValueError, match="boundary found"):
            await send()
        assert sent.count(b"--BOUNDARY") == 1  # the delimiter line itself

    async def test_almost_a_boundary_is_data(self, tmp_path: Path):
        """What only resembles the boundary is sent."""
        path = tmp_path / "file"
        path.write_bytes(b"-BOUNDARY--BOUNDAR--boundary" * 5000)
        datagen, _ = multipart_encode({"field": path}, boundary="BOUNDARY")
        assert path.read_bytes() in await joined(datagen)

    @pytest.mark.parametrize("boundary", ["a b:c", "é", b"a/b?", "x" * 70])
    async def test_a_boundary_is_quoted_alike_everywhere(self, boundary: Any):
        """Head and body have the boundary in the same form."""
        datagen, headers = multipart_encode({"a": "b"}, boundary=boundary)
        sent = headers["Content-Type"].partition("boundary=")[2].encode()
        assert re.fullmatch(rb"[A-Za-z0-9%+._~-]+", sent)
        body = await joined(datagen)
        assert body.startswith(b"--" + sent + b"\r\n")
        assert body.endswith(b"\r\n--" + sent + b"--\r\n")

    @pytest.mark.parametrize("boundary", ["", b"", "x" * 71])
    def test_a_boundary_has_1_to_70_characters(self, boundary: Any):
        """RFC 2046 limits a boundary to 70 characters; an empty one delimits nothing."""
        with pytest.raises(ValueError, match="1 to 70 characters"):
            multipart_encode({"a": "b"}, boundary=boundary)


class TestFromFile:
    def test_name_type_and_size_are_the_files(self, picture: Path):
        """from_file takes the base name, the type by its ending, and the size from the file."""
        param = MultipartParam.from_file("file", str(picture))
        assert (param.name, param.filename, param.filetype, param.filesize) == ("file", "picture.png", "image/png", 256)
        assert param.value is None

    @pytest.mark.parametrize(
        ("name", "kind"),
        [("a.txt", "text/plain"), ("a.html", "text/html"), ("a", "application/octet-stream"), ("a.@", None)],
    )
    def test_an_unknown_type_is_octets(self, tmp_path: Path, name: str, kind: str | None):
        """The type is guessed by the ending; what is unknown is application/octet-stream."""
        (tmp_path / name).touch()
        assert MultipartParam.from_file("f", tmp_path / name).filetype == (kind or "application/octet-stream")

    def test_a_file_that_is_not_there(self, tmp_path: Path):
        """A missing file is told of at once, as a FileNotFoundError too."""
        with pytest.raises(FileMissing, match="No such file"):
            MultipartParam.from_file("file", tmp_path / "missing")
        with pytest.raises(FileNotFoundError):
            MultipartParam.from_file("file", tmp_path / "missing")

    def test_a_directory(self, tmp_path: Path):
        """A directory is no file."""
        with pytest.raises(FileIsDirectory, match="is a directory; pass the files inside it"):
            MultipartParam.from_file("file", tmp_path)

    def test_a_file_that_may_not_be_read(self, picture: Path, monkeypatch: pytest.MonkeyPatch):
        """A file without permission is told of at once, as a PermissionError too."""
        monkeypatch.setattr(os, "access", lambda _path, _mode: False)
        with pytest.raises(FileForbidden, match="permission denied") as caught:
            MultipartParam.from_file("file", picture)
        assert isinstance(caught.value, PermissionError)


class TestFromParams:
    def test_a_mapping_and_pairs_are_the_same(self):
        """from_params makes equal params of a mapping, of pairs, and of MultipartParams."""
        wanted = [MultipartParam("a", "1"), MultipartParam("b", "2")]
        assert MultipartParam.from_params({"a": "1", "b": "2"}) == wanted
        assert MultipartParam.from_params([("a", "1"), ("b", "2")]) == wanted
        assert MultipartParam.from_params((("a", "1"), ["b", "2"])) == wanted
        assert MultipartParam.from_params(wanted) == wanted
        assert MultipartParam.from_params([("a", "1"), wanted[1]]) == wanted
        assert MultipartParam.from_params({"a": wanted[0], "b": "2"}) == wanted

    def test_an_iterable_that_can_be_read_once(self):
        """from_params takes one-shot iterables of pairs and params."""
        pairs: Iterator[Any] = iter([("a", "1"), MultipartParam("b", "2")])
        assert MultipartParam.from_params(pairs) == [MultipartParam("a", "1"), MultipartParam("b", "2")]
        assert MultipartParam.from_params(pair for pair in [("a", "1")]) == [MultipartParam("a", "1")]
        assert MultipartParam.from_params({"a": "1"}.items()) == [MultipartParam("a", "1")]

    def test_a_single_param(self):
        """One MultipartParam alone is a form of one field."""
        param = MultipartParam("a", "1")
        assert MultipartParam.from_params(param) == [param]

    async def test_a_list_of_a_name_and_a_file_is_that_file(self):
        """A list whose second item is a file is taken for a tuple, as requests does."""
        [param] = MultipartParam.from_params({"a": ["name.txt", io.BytesIO(b"x")]})
        assert (param.filename, param.filesize) == ("name.txt", 1)

    async def test_a_one_shot_iterable_of_params_is_a_form(self):
        """multipart_encode reads its params once and no more: a generator of pairs gives body and length."""
        datagen, headers = multipart_encode((name, "value") for name in "abc")
        body = await joined(datagen)
        assert body.count(b"value") == 3
        assert headers["Content-Length"] == str(len(body))

    def test_a_list_is_several_values(self):
        """A list under one name gives a field for each item, in order; None gives none."""
        params = MultipartParam.from_params({"a": ["1", "2", None], "b": None, "c": [b"x"]})
        assert [(param.name, param.value) for param in params] == [
            ("a", b"1"),
            ("a", b"2"),
            ("c", b"x"),
        ]

    def test_an_open_file_has_its_base_name(self, picture: Path):
        """The filename of a file is the last part of its path: where it lies is nobody's business."""
        with picture.open("rb") as file:
            [param] = MultipartParam.from_params({"file": file})
        assert param.filename == "picture.png"
        assert param.filetype == "image/png"

    @pytest.mark.parametrize("make", [lambda: io.BytesIO(b"x"), tempfile.TemporaryFile, tempfile.SpooledTemporaryFile])
    def test_a_nameless_file_has_no_filename(self, make: Callable[[], Any]):
        """A file without a name, or with a descriptor's number for one, is sent without a filename."""
        with make() as file:
            [param] = MultipartParam.from_params({"file": file})
        assert param.filename is None

    def test_a_file_always_has_a_filename_in_files(self):
        """Among `files=` a source without a name is called as its field is."""
        [param] = MultipartParam.from_files({"field": io.BytesIO(b"x")})
        assert param.filename == "field"

    def test_tuples_name_a_file_and_its_type(self):
        """(filename, source), with a content type and with headers, say how the source is sent."""
        two, three, four = MultipartParam.from_params(
            [
                ("f", ("a.txt", "text")),
                ("f", ("b.bin", io.BytesIO(b"bytes"), "image/gif")),
                ("f", ("c", b"bytes", "x/y", {"X-Part": "yes"})),
            ]
        )
        assert (two.filename, two.filetype, two.value) == ("a.txt", "text/plain", b"text")
        assert (three.filename, three.filetype, three.filesize) == ("b.bin", "image/gif", 5)
        assert (four.filename, four.filetype, four.headers) == ("c", "x/y", {"X-Part": "yes"})
        assert b"\r\nContent-Type: x/y\r\nX-Part: yes\r\n\r\n" in four.encode("B")

    def test_a_tuple_without_a_filename_is_a_field(self):
        """(None, value) is a field without a filename; (name, None) is nothing."""
        params = MultipartParam.from_files([("a", (None, "value")), ("b", ("name", None)), ("c", None)])
        assert [(param.name, param.filename, param.value) for param in params] == [("a", None, b"value")]

    @pytest.mark.parametrize("params", ["a=b", b"a=b", ["ab=c"], [("a", "b", "c")], [1]])
    def test_what_is_no_form(self, params: Any):
        """Strings and items that are no pairs are refused with a sentence that says what is wanted."""
        with pytest.raises(InvalidBody, match=r"fields are a mapping|is neither a pair \(name, value\)"):
            multipart_encode(params)

    def test_a_param_under_another_name(self):
        """A MultipartParam in a mapping must have the name that it stands under."""
        with pytest.raises(ValueError, match="the MultipartParam under 'a' is named 'b'"):
            MultipartParam.from_params({"a": MultipartParam("b", "1")})


class TestParam:
    def test_names_are_text_or_bytes(self):
        """Names and filenames are text, or bytes in UTF-8."""
        param = MultipartParam(b"caf\xc3\xa9", b"x", filename="é".encode())
        assert (param.name, param.filename) == ("café", "é")

    def test_a_value_becomes_bytes(self):
        """Text is UTF-8, a number is as it prints."""
        assert MultipartParam("a", "é").value == b"\xc3\xa9"
        assert MultipartParam("a", 1.5).value == b"1.5"
        assert MultipartParam("a", True).value == b"True"
        assert MultipartParam("a", "").value == b""

    def test_value_or_file_and_not_both(self, picture: Path):
        """A value and a fileobj at once are refused."""
        with pytest.raises(ValueError, match="both a value and a fileobj"):
            MultipartParam("a", "value", fileobj=picture)

    def test_a_value_is_no_file(self, picture: Path):
        """A file is passed as fileobj, not as value."""
        with pytest.raises(ValueError, match="pass files as fileobj="):
            MultipartParam("a", picture)

    def test_types(self):
        """Text is text/plain; charset=utf-8; bytes that are no text, and any file of unknown kind, are octets."""
        assert MultipartParam("a", "text").filetype == "text/plain; charset=utf-8"
        assert MultipartParam("a", b"text").filetype == "text/plain; charset=utf-8"
        assert MultipartParam("a", 7).filetype == "text/plain; charset=utf-8"
        assert MultipartParam("a", b"\xff").filetype == "application/octet-stream"
        assert MultipartParam("a", b"text", filename="unknown").filetype == "application/octet-stream"
        assert MultipartParam("a", fileobj=io.BytesIO(b"text")).filetype == "application/octet-stream"
        assert MultipartParam("a", fileobj=io.StringIO("text")).filetype == "text/plain; charset=utf-8"
        assert MultipartParam("a", "text", filetype="x/y").filetype == "x/y"

    @settings(max_examples=300, derandomize=True, database=None, deadline=None)
    @given(
        stem=st.sampled_from(
            ["", "a", ".", "..", "a.b", "dir/", "dir/a", ".dir/", "a.tar", "é", "a: b", "x:y/z", "//[", "c#"]
        ),
        end=st.sampled_from(
            [
                "",
                ".",
                ".txt",
                ".TXT",
                ".html",
                ".gz",
                ".Z",
                ".tgz",
                ".svgz",
                ".tar.gz",
                ".txt.gz",
                ".txt.",
                ".png?x.html",
                ".x",
            ]
        ),
    )
    def test_a_name_tells_the_type(self, stem: str, end: str):
        """A type is guessed as ``mimetypes`` does for a file of that name, never as for a URL."""
        guessed = mimetypes.guess_type(f"./{stem}{end}")[0]
        for is_known in (True, False):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(mimetypes, "inited", is_known)
                name = f"{stem}{end}" or "-"
                assert MultipartParam("a", b"x", filename=name).filetype == (guessed or "application/octet-stream")

    def test_types_that_were_made_known(self, monkeypatch: pytest.MonkeyPatch):
        """What a program has told ``mimetypes`` counts, at once."""
        assert MultipartParam("a", b"x", filename="a.aioreq").filetype == "application/octet-stream"
        monkeypatch.setitem(mimetypes.types_map, ".aioreq", "application/x-aioreq")
        assert MultipartParam("a", b"x", filename="a.aioreq").filetype == "application/x-aioreq"

    def test_equal_params(self, picture: Path):
        """Params are equal when all that is sent of them is; the callback does not count."""
        assert MultipartParam("a", "b") == MultipartParam("a", b"b", cb=print)
        assert MultipartParam.from_file("a", picture) == MultipartParam.from_file("a", picture)
        for other in (
            MultipartParam("x", "b"),
            MultipartParam("a", "x"),
            MultipartParam("a", "b", filename="x", filetype="text/plain; charset=utf-8"),
            MultipartParam("a", "b", filetype="x/y"),
            MultipartParam("a", "b", headers={"X": "y"}),
            MultipartParam("a", fileobj=io.BytesIO(b"b")),
            "a",
        ):
            assert MultipartParam("a", "b") != other

    def test_params_are_hashable(self):
        """A progress callback may keep params in a dict: each is its own key."""
        one, other = MultipartParam("a", "b"), MultipartParam("a", "b")
        assert len({one: 1, other: 2}) == 2

    def test_repr_has_the_name(self):
        """The repr shows the name and no data."""
        assert repr(MultipartParam("a", "secret")) == "<MultipartParam [a]>"

    @pytest.mark.parametrize(
        "make",
        [
            lambda: MultipartParam("a", "value"),
            lambda: MultipartParam("é", b"\xff\0", filename='q"uote'),
            lambda: MultipartParam("a", fileobj=io.BytesIO(EVERY_BYTE), headers={"X": "y"}),
            lambda: MultipartParam("a", ""),
        ],
    )
    def test_get_size_is_the_length_of_encode(self, make: Callable[[], MultipartParam]):
        """get_size is exact."""
        param = make()
        for boundary in ("B", "x" * 70, "é"):
            assert param.get_size(boundary) == len(param.encode(boundary))

    @pytest.mark.parametrize("kind", sorted(set(KINDS) - ONE_SHOT - {"aiofiles", "aiofiles text", "anyio"}))
    async def test_encode_and_iter_encode_are_the_same(self, folder: Path, kind: str):
        """encode gives at once what iter_encode gives in blocks."""
        with contextlib.ExitStack() as stack:
            param = param_for(KINDS[kind](stack, folder, EVERY_BYTE * 300))
            assert await joined(param.iter_encode("B-B")) == param.encode("B-B")

    async def test_iter_encode_gives_blocks_of_a_size(self):
        """No block of a file is longer than asked for, and cb is told of each."""
        told: list[Told] = []
        param = MultipartParam("a", fileobj=io.BytesIO(EVERY_BYTE), cb=lambda *arguments: told.append(arguments))
        blocks = [block async for block in param.iter_encode("B", blocksize=100)]
        assert blocks == [param.encode_hdr("B"), EVERY_BYTE[:100], EVERY_BYTE[100:200], EVERY_BYTE[200:], b"\r\n"]
        size = param.get_size("B")
        assert [current for _, current, _ in told] == [
            size - 258,
            size - 158,
            size - 58,
            size - 2,
            size,
        ]
        assert all(owner is param and total == size for owner, _, total in told)

    async def test_encode_refuses_what_can_only_be_awaited(self):
        """A source that can only be read asynchronously is refused by encode, and read by iter_encode."""
        param = MultipartParam("a", fileobj=AsyncFile(b"data"), filesize=4)
        with pytest.raises(ValueError, match="can't be read at once: use iter_encode"):
            param.encode("B")
        assert (await joined(param.iter_encode("B"))).endswith(b"\r\n\r\ndata\r\n")

    async def test_reset(self, picture: Path):
        """reset is there for poster's callers, and checks that the param can be sent from its first byte."""
        MultipartParam("a", "value").reset()
        MultipartParam.from_file("a", picture).reset()
        with pytest.raises(ValueError, match="Don't know how to reset this parameter"):
            MultipartParam("a").reset()

        one_shot = MultipartParam("a", fileobj=iter([b"x"]), filesize=1)
        one_shot.reset()
        await joined(one_shot.iter_encode("B"))
        with pytest.raises(UnrewindableBodyError):
            one_shot.reset()

    def test_a_param_of_nothing(self):
        """A param without value, file and size has no size."""
        with pytest.raises(ValueError, match="no value, no file and no filesize"):
            MultipartParam("a").get_size("B")

    @pytest.mark.parametrize("filesize", [-1, "7", 1.5])
    def test_a_size_that_is_none(self, filesize: Any):
        """filesize= is a number of bytes."""
        with pytest.raises(ValueError, match="which is no number of bytes"):
            MultipartParam("a", fileobj=iter([b"x"]), filesize=filesize)

    async def test_a_declared_size_is_the_size_that_is_sent(self, picture: Path):
        """filesize= of a regular file sends its first bytes; more than it has is refused."""
        datagen, _ = multipart_encode([MultipartParam("a", fileobj=picture, filesize=10)])
        assert b"\r\n\r\n" + EVERY_BYTE[:10] + b"\r\n--" in await joined(datagen)
        with pytest.raises(ValueError, match=r"300 bytes were declared, but the file .* has 256"):
            MultipartParam("a", fileobj=picture, filesize=300)


class TestHead:
    @pytest.mark.parametrize(
        ("name", "wire"),
        [
            ("plain", b"plain"),
            ("sp ace; filename=x", b"sp ace; filename=x"),
            ('quo"te', b"quo%22te"),
            ("line\r\nbreak", b"line%0D%0Abreak"),
            ("back\\slash", b"back\\slash"),
            ("100%25 %0A", b"100%25 %0A"),
            ("é 日本 😀", "é 日本 😀".encode()),
            ("", b""),
        ],
    )
    def test_names_are_escaped_as_browsers_do(self, name: str, wire: bytes):
        """Names and filenames are raw UTF-8 with three escapes: quote %22, CR %0D, LF %0A (WHATWG)."""
        head = MultipartParam(name, "x", filename=name, filetype="x/y").encode_hdr("B")
        assert head == (
            b'--B\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\nContent-Type: x/y\r\n\r\n'
            % (wire, wire)
        )

    async def test_a_name_on_disk_that_is_no_utf8(self, tmp_path: Path):
        """A file whose name is no UTF-8 is sent under its own bytes."""
        path = tmp_path / os.fsdecode(b"caf\xe9-\xff.bin")
        path.write_bytes(b"x")
        datagen, headers = multipart_encode({"file": path})
        body = await joined(datagen)
        assert b'; filename="caf\xe9-\xff.bin"\r\n' in body
        assert headers["Content-Length"] == str(len(body))

    @pytest.mark.parametrize("bad", ["a\rb", "a\nb", "a\r\nX: y", "a\0b"])
    def test_nothing_is_injected_into_a_head(self, bad: str):
        """CR, LF or NUL in a part's content type or headers raises ValueError."""
        with pytest.raises(ValueError, match="holds CR, LF or NUL"):
            MultipartParam("a", "x", filetype=bad)
        with pytest.raises(ValueError, match="holds CR, LF or NUL"):
            MultipartParam("a", "x", headers={"X": bad})
        with pytest.raises(ValueError, match="holds CR, LF or NUL"):
            MultipartParam("a", "x", headers={bad: "x"})
        with pytest.raises(ValueError, match="holds CR, LF or NUL"):
            multipart_encode({"a": ("name", b"x", bad)})

    def test_a_content_type_is_text(self):
        """A content type that is no text is refused."""
        with pytest.raises(ValueError, match="isn't text: 7"):
            MultipartParam("a", "x", filetype=7)  # type: ignore[arg-type]


class TestPostersFunctions:
    def test_encode_and_quote(self):
        """encode_and_quote quotes as a form in a URL does, in UTF-8; None stays None."""
        assert encode_and_quote("é a&b/c") == b"%C3%A9+a%26b%2Fc"
        assert encode_and_quote(b"\xff ") == b"%FF+"
        assert encode_and_quote("") == b""
        assert encode_and_quote(None) is None

    def test_encode_string(self):
        """encode_string is the whole part of one value."""
        assert encode_string("B", "key", "value") == (
            b'--B\r\nContent-Disposition: form-data; name="key"\r\n'
            b"Content-Type: text/plain; charset=utf-8\r\n\r\nvalue\r\n"
        )

    def test_encode_file_header(self):
        """encode_file_header is what stands in front of a file's bytes."""
        assert encode_file_header("B", "key", 10, "name.gif") == (
            b'--B\r\nContent-Disposition: form-data; name="key"; filename="name.gif"\r\nContent-Type: image/gif\r\n\r\n'
        )
        assert b'name="key"\r\nContent-Type: x/y\r\n' in encode_file_header("B", "key", 10, filetype="x/y")

    def test_encode_file_header_of_an_unknown_file(self):
        """Unknown binary is application/octet-stream, where poster called it text."""
        assert b"\r\nContent-Type: application/octet-stream\r\n" in encode_file_header("B", "key", 10, "name")

    async def test_get_body_size_and_get_headers(self, picture: Path):
        """get_body_size and get_headers say of params what multipart_encode makes of them."""
        params = [("a", "value"), ("file", picture)]
        datagen, headers = multipart_encode(params, "B")
        assert get_body_size(params, "B") == len(await joined(datagen))
        assert get_headers(params, "B") == headers
