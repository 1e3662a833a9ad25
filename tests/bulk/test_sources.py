"""Folders, manifests and lists of paths as items."""

import io
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq.bulk import ManifestError, Upload, bulk_upload, read_manifest, walk
from tests.servers.nginx import Nginx

from .conftest import Bin, MakeFiles, all_of

AS_ROOT = os.geteuid() == 0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with files at several depths."""
    root = tmp_path / "tree"
    for name in ("a.txt", "sub/b.txt", "sub/deeper/ü c.txt", "empty/.hidden"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (root / "bare").mkdir()
    return root


class TestWalk:
    """Folders, recursively."""

    def test_names_are_relative(self, tree: Path):
        """Every file comes once, hidden ones too, named by its path from the folder."""
        found = {item.name: Path(item.source).read_text() for item in walk(tree)}
        assert found == {name: name for name in ("a.txt", "sub/b.txt", "sub/deeper/ü c.txt", "empty/.hidden")}

    def test_a_prefix(self, tree: Path):
        """A prefix goes before each name."""
        assert {item.name for item in walk(tree / "sub", "up/")} == {"up/b.txt", "up/deeper/ü c.txt"}

    def test_links(self, tree: Path):
        """Links to files are followed, links to folders are not, and one that leads nowhere is told of."""
        (tree / "file-link").symlink_to(tree / "a.txt")
        (tree / "folder-link").symlink_to(tree)
        (tree / "dangling").symlink_to(tree / "nothing")
        os.mkfifo(tree / "pipe")
        assert {item.name for item in walk(tree)} - {item.name for item in walk(tree / "sub", "sub/")} == {
            "a.txt",
            "empty/.hidden",
            "file-link",
            "dangling",
        }

    async def test_what_can_not_be_read(self, new_bin: Bin, tree: Path):
        """A folder that is not there, or can't be looked into, is an item that fails; the others arrive."""
        missing = await all_of(bulk_upload(new_bin.url, walk(tree / "missing")))
        assert [type(result.error) for result in missing] == [aioreq.FileMissing]
        if not AS_ROOT:
            (tree / "sub").chmod(0)
        (tree / "dangling").symlink_to(tree / "nothing")
        results = await all_of(bulk_upload(new_bin.url, walk(tree)))
        (tree / "sub").chmod(stat.S_IRWXU)
        failed = {result.item.name: type(result.error) for result in results if not result.ok}
        expected: dict[str, Any] = {"dangling": aioreq.FileMissing}
        assert failed == (expected if AS_ROOT else expected | {"sub": aioreq.FileForbidden})

    async def test_a_folder_as_items(self, nginx: Nginx, tree: Path):
        """A path in place of items is the folder below it, or the file it is."""
        for items in (tree, f"{tree}/"):
            results = await all_of(bulk_upload(nginx.plain.url("/dav/walked/"), items, method="PUT"))
            assert len(results) == 4
        stored = nginx.stored("walked")
        found = {path.relative_to(stored).as_posix(): path.read_text() for path in stored.rglob("*") if path.is_file()}
        assert found == {name: name for name in ("a.txt", "sub/b.txt", "sub/deeper/ü c.txt", "empty/.hidden")}
        [result] = await all_of(bulk_upload(nginx.plain.url("/dav/one/"), tree / "a.txt", method="PUT"))
        assert result.url == nginx.plain.url("/dav/one/a.txt")

    async def test_names_in_a_form(self, new_bin: Bin, tree: Path):
        """In a form, the relative path is the filename, as browsers send it for folders."""
        await all_of(bulk_upload(new_bin.url, walk(tree)))
        assert {r["parts"][0]["filename"] for r in await new_bin.receipts()} == {item.name for item in walk(tree)}


def listed(text: str | bytes) -> list[tuple[Any, ...]]:
    content = text if isinstance(text, bytes) else text.encode()
    return [(item.source, item.name, item.url, item.data) for item in read_manifest(io.BytesIO(content))]


class TestManifests:
    """Lists of items in files."""

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
    def test_json_lines(self, end: str):
        """One object or one string on each line."""
        lines = ['{"path": "a", "name": "b", "url": "http://c/", "data": {"d": "é"}}', '"x y"', '{"path": "z"}']
        assert listed(end.join(lines)) == [
            ("a", "b", "http://c/", {"d": "é"}),
            ("x y", None, None, None),
            ("z", None, None, None),
        ]

    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_csv(self, end: str, mark: bytes):
        """Columns by name; cells of fields and headers; empty cells say nothing; quotes as in CSV."""
        text = end.join(('path,"name",data.title,headers.X-A', 'a,,"one, two",', '"b\nc",d,,e', ""))
        assert listed(mark + text.encode()) == [
            ("a", None, None, {"title": "one, two"}),
            ("b\nc", "d", None, None),
        ]
        assert [item.headers for item in read_manifest(io.BytesIO(text.encode()))] == [None, {"X-A": "e"}]

    @pytest.mark.parametrize(("separator", "end"), [("\n", ""), ("\n", "\n"), ("\r\n", ""), ("\0", "\0")])
    def test_paths(self, separator: str, end: str):
        """One path on each line, or ended by NUL as find -print0 does."""
        assert [item[0] for item in listed(separator.join(("a b", "ü", "path")) + end)] == ["a b", "ü", "path"]

    def test_paths_of_any_bytes(self):
        """A path that is not UTF-8 is that path."""
        assert [os.fsencode(item[0]) for item in listed(b"caf\xe9\nb")] == [b"caf\xe9", b"b"]
        assert [os.fsencode(item[0]) for item in listed(b"path\ncaf\xe9\n")] == [b"caf\xe9"]

    def test_nothing(self):
        """An empty manifest lists nothing."""
        assert listed("") == []

    def test_a_long_one(self, tmp_path: Path):
        """A manifest of any length is read as it is needed."""
        path = tmp_path / "list.jsonl"
        with path.open("w") as file:
            for number in range(20_000):
                file.write(json.dumps({"path": f"/some/where/{number}", "name": "x" * (number % 50)}) + "\n")
        assert [item.source for item in read_manifest(path)] == [f"/some/where/{number}" for number in range(20_000)]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ('{"path": "a"}\n{"path": ', "line 2 .* is not JSON"),
            ('{"path": "a"}\n[1]', "line 2 .* neither an object nor a string"),
            ('{"path": "a", "nome": "b"}', "line 1 .* says 'nome'; it can say .*name"),
            ('{"path": ""}', "line 1 .* has no path"),
            ('{"name": "a"}', "line 1 .* has no path"),
            ("path,name\na", "line 2 .* has 1 cells, not 2"),
        ],
    )
    def test_what_can_not_be_read(self, text: str, told: str):
        """A line that can't be understood is told by its number."""
        with pytest.raises(ManifestError, match=told):
            listed(text)

    def test_no_such_file(self, tmp_path: Path):
        """A manifest that is not there is a file that can't be read."""
        with pytest.raises(aioreq.FileMissing):
            next(read_manifest(tmp_path / "missing"))

    async def test_it_ends_the_run_behind_the_others(self, new_bin: Bin, make_files: MakeFiles):
        """What comes before a bad line is uploaded; then the run ends with the line's number."""
        files = make_files(3)
        lines = [json.dumps(str(path)) for path in files]
        manifest = io.BytesIO("\n".join([*lines, "{"]).encode())
        results = []
        with pytest.raises(ManifestError, match="line 4"):
            async for result in bulk_upload(new_bin.url, read_manifest(manifest)):
                results.append(result)
        assert len(results) == 3

    async def test_from_a_pipe(self, new_bin: Bin, make_files: MakeFiles):
        """What has come through a pipe is uploaded while the writer still thinks."""
        first, second = make_files(2)
        reading, writing = os.pipe()
        os.write(writing, f"{first}\n{second}\n".encode())
        results = []
        async for result in bulk_upload(new_bin.url, read_manifest(reading), concurrency=1):
            results.append(result)
            if len(results) == 1:
                os.close(writing)
        os.close(reading)
        assert [result.item.source for result in results] == [str(first), str(second)]

    async def test_everything_at_once(self, new_bin: Bin, make_files: MakeFiles):
        """What a line says of its item is done."""
        [path] = make_files(1)
        line = {
            "path": str(path), "url": f"{new_bin.url}?x=1", "name": "n.txt", "field": "f", "data": {"a": "b"},
            "headers": {"X-Y": "z"}, "method": "PUT", "key": "k", "content_type": "text/x",
        }  # fmt: skip
        [item] = read_manifest(io.BytesIO(json.dumps(line).encode()))
        [result] = await all_of(bulk_upload(None, [item]))
        assert result.url == line["url"]
        [receipt] = await new_bin.receipts()
        assert (receipt["method"], receipt["idempotency_key"]) == ("PUT", "k")
        field, file = receipt["parts"]
        assert (field["name"], field["value"]) == ("a", "b")
        assert (file["name"], file["filename"], file["content_type"]) == ("f", "n.txt", "text/x")


async def test_walking_is_done_off_the_loop(tree: Path, new_bin: Bin):
    """A folder is walked in the thread that takes items."""
    seen: set[str] = set()

    def items() -> Any:
        for item in walk(tree):
            seen.add(threading.current_thread().name)
            yield item

    assert len(await all_of(bulk_upload(new_bin.url, items()))) == 4
    assert seen == {"aioreq-items"}


def test_an_upload_shows_its_name():
    """An item shows what it is called, and nothing of its data."""
    assert repr(Upload("a/b", data={"password": "x"})) == "<Upload [a/b]>"
    assert repr(Upload(b"123", key="k")) == "<Upload [k]>"
    assert repr(Upload(b"123")) == "<Upload [bytes]>"
