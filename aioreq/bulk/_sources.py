"""Where items come from: folders, manifests, lists of paths. All are generators; nothing is ever held as a whole."""

from __future__ import annotations

import csv
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import Any, BinaryIO

from ..exceptions import FileUnreadable, RequestException
from ._item import Upload

_BLOCK = 64 * 1024
# What a manifest may say of an item: everything an Upload has, its source as "path".
_NAMES = frozenset(field.name for field in fields(Upload)) - {"source", "size"} | {"path"}


class ManifestError(RequestException, ValueError):
    """A manifest can't be read; the message tells the line."""


def walk(folder: str | os.PathLike[str], prefix: str = "") -> Iterator[Upload]:
    """The files below a folder, in no particular order, each named by its path from there.

    Links to files are followed, links to folders are not; pipes, sockets and devices are left out. What can't be looked
    into, and links that lead nowhere, come as items too: their results tell.

    Args:
        folder: where to look.
        prefix: goes before each name.
    """
    pending = [(os.fsdecode(folder), prefix)]
    while pending:
        path, prefix = pending.pop()
        try:
            entries = os.scandir(path)
        except OSError:
            yield Upload(path, name=prefix.rstrip("/") or None)
            continue
        with entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    pending.append((entry.path, f"{name}/"))
                elif entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path)):  # noqa: PTH110
                    yield Upload(entry.path, name=name)


def read_manifest(manifest: str | os.PathLike[str] | BinaryIO | int) -> Iterator[Upload]:
    """The items that a manifest lists.

    What it is shows in its first line:

    - JSON Lines: on each line an object with a "path" and any of "url", "name", "field", "data", "headers", "method",
      "key" and "content_type"; or a string, which is a path;
    - CSV: a line of column names, with "path" among them and any of the others; "data.NAME" is a field of the form,
      "headers.NAME" a header. Empty cells say nothing;
    - a list of paths, one on each line, or ended by NUL as ``find -print0`` does.

    Paths are relative to the working directory.

    Args:
        manifest: a path, a file open in binary mode, or the number of a descriptor such as 0.

    Raises:
        ManifestError: a line can't be understood.
        FileUnreadable: the file can't be read.
    """
    try:
        if isinstance(manifest, int):
            # Not sys.stdin: a thread that waits in its buffer holds a lock that the interpreter needs to end.
            yield from _parsed(lambda size: os.read(manifest, size))
        elif isinstance(manifest, (str, os.PathLike)):
            with open(manifest, "rb") as file:  # noqa: PTH123 - a path of any kind
                yield from _parsed(file.read1)
        else:
            yield from _parsed(manifest.read)
    except OSError as error:
        if isinstance(error, RequestException):
            raise
        raise FileUnreadable.from_oserror(error, str(manifest)) from error


def _parsed(read: Callable[[int], bytes]) -> Iterator[Upload]:
    block = read(_BLOCK).removeprefix(b"\xef\xbb\xbf")
    if b"\0" in block:
        return (Upload(os.fsdecode(path)) for path in _split(block, read, b"\0") if path)
    lines = _split(block, read, b"\n")
    first = next(lines, b"")
    lines = itertools.chain((first,), lines)
    if "path" in next(csv.reader((_text(first),)), ()):
        return _from_csv(lines)
    if first.lstrip()[:1] in (b"{", b'"'):
        return _from_json(lines)
    return (Upload(os.fsdecode(line)) for line in (line.rstrip(b"\r") for line in lines) if line)


def _split(block: bytes, read: Callable[[int], bytes], separator: bytes) -> Iterator[bytes]:
    """What stands between separators."""
    held = b""
    while block:
        *whole, held = (held + block).split(separator)
        yield from whole
        block = read(_BLOCK)
    if held:
        yield held


def _from_json(lines: Iterable[bytes]) -> Iterator[Upload]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise ManifestError(f"line {number} of the manifest is not JSON: {error}") from error
        if isinstance(value, str):
            value = {"path": value}
        if not isinstance(value, dict):
            raise ManifestError(f"line {number} of the manifest is neither an object nor a string")
        yield _upload(value, number)


def _from_csv(lines: Iterable[bytes]) -> Iterator[Upload]:
    rows = csv.reader(_text(line) + "\n" for line in lines)
    columns = next(rows)
    for row in rows:
        if not row:
            continue
        if len(row) != len(columns):
            raise ManifestError(f"line {rows.line_num} of the manifest has {len(row)} cells, not {len(columns)}")
        yield _upload(_from_cells(columns, row), rows.line_num)


def _text(line: bytes) -> str:
    """A line as text; bytes of paths that are not UTF-8 come through, as they do from the file system."""
    return line.decode("utf-8", "surrogateescape")


def _from_cells(columns: list[str], row: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for column, cell in zip(columns, row, strict=True):
        group, dot, name = column.partition(".")
        if not cell:
            continue
        if dot and group in ("data", "headers"):
            values.setdefault(group, {})[name] = cell
        else:
            values[column] = cell
    return values


def _upload(values: dict[str, Any], number: int) -> Upload:
    if unknown := values.keys() - _NAMES:
        raise ManifestError(
            f"line {number} of the manifest says {', '.join(map(repr, sorted(unknown)))}; "
            f"it can say {', '.join(sorted(_NAMES))}"
        )
    path = values.pop("path", None)
    if not isinstance(path, str) or not path:
        raise ManifestError(f"line {number} of the manifest has no path")
    return Upload(path, **values)
