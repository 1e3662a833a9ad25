"""The documentation is true: its examples run, its links lead somewhere, and nothing public is missing from it.

How an example is written, on any page of docs/ and in README.md:

- A page's blocks of ```` ```python ```` run in order and share their names, as in a notebook; ``await`` stands at the
  top level where it is needed. A block without it runs in a thread of its own, so that it may call ``asyncio.run``.
- ``url`` is the address of a bin that takes uploads, as is ``https://example.org/upload``, and ``server`` that of the
  server it belongs to. What else a page needs stands in a comment that begins with ``<!-- setup``.
- ``# → `` begins a line that the block prints, and ``...`` in it stands for anything. All lines are compared.
- A block of ```` ```python raises ```` ends with an error, and ``# → `` shows it as the last line of a traceback does.
- A block of ```` ```python before ```` belongs to another library; such blocks run apart from the page's own.
- Functions called ``test_...`` are called, with pytest's fixtures as arguments.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
import importlib.util
import inspect
import io
import os
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from postbin import running_bin

import aioreq
import aioreq.bulk
import aioreq.exceptions
import aioreq.multipart
import aioreq.opentelemetry
import aioreq.testing

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "README.md", *sorted(DOCS.glob("**/*.md")))}
PEERS = ("requests", "httpx", "aiohttp")


# Reading a page ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A stretch of Python on a page. ``kind`` is "setup", "", "raises" or "before"."""

    page: str
    line: int
    kind: str
    code: str

    @property
    def expected(self) -> list[str]:
        """The lines it says it prints."""
        return re.findall(r"^ *# → (.*)$", self.code, re.MULTILINE)


_BLOCK = re.compile(
    r"^(?P<fence>`{3,})(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=fence)[ ]*$|^<!-- setup\n(?P<setup>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)


def read_blocks(page: str) -> list[Block]:
    text = PAGES[page].read_text("utf-8")
    blocks = []
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        language, *kinds = (found["info"] or "").split() or [""]
        if found["setup"] is not None:
            blocks.append(Block(page, line, "setup", found["setup"]))
        elif language == "python":
            assert kinds in ([], ["raises"], ["before"]), f"{page}:{line}: {kinds}"
            blocks.append(Block(page, line, "".join(kinds), found["code"]))
    return blocks


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", _BLOCK.sub("", text))


# Running a page ---------------------------------------------------------------------------------------------


class Page:
    """Runs the blocks of one page."""

    def __init__(self, names: dict[str, Any], request: pytest.FixtureRequest) -> None:
        self._names = {**names, "__name__": "__main__"}
        self._request = request

    async def run(self, block: Block) -> None:
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            error = await self._outcome(block)
        printed = shown.getvalue().splitlines()
        if block.kind == "raises":
            assert error is not None, f"{block.page}:{block.line}: nothing was raised"
            printed.append(f"{type(error).__name__}: {error}")
        elif error is not None:
            error.add_note(f"in the example at {block.page}:{block.line}")
            raise error
        if block.kind == "raises" or block.expected:
            assert _fits(block.expected, printed), f"{block.page}:{block.line} prints {printed}"

    async def _outcome(self, block: Block) -> Exception | None:
        before = dict(self._names)
        try:
            await self._execute(block)
            for name, value in list(self._names.items()):
                if name.startswith("test_") and value is not before.get(name):
                    await self._call(value)
        except Exception as error:
            return error
        return None

    async def _execute(self, block: Block) -> None:
        source = "\n" * block.line + block.code.replace("https://example.org/upload", self._names["url"])
        code = compile(source, block.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        if code.co_flags & inspect.CO_COROUTINE:
            await eval(code, self._names)
        else:
            await asyncio.to_thread(exec, code, self._names)

    async def _call(self, test: Any) -> None:
        arguments = {name: self._request.getfixturevalue(name) for name in inspect.signature(test).parameters}
        result = test(**arguments)
        if inspect.isawaitable(result):
            await result


def _fits(expected: list[str], printed: list[str]) -> bool:
    pattern = ".*".join(re.escape(part) for part in re.split(r" ?\.\.\. ?", " ".join(expected)))
    return re.fullmatch(pattern, " ".join(" ".join(printed).split()), re.DOTALL) is not None


@pytest.fixture(scope="module")
def bin_server() -> Iterator[str]:
    with running_bin() as url:
        yield url


@pytest.fixture
def names(bin_server: str) -> dict[str, Any]:
    with urllib.request.urlopen(urllib.request.Request(bin_server, method="POST")) as made:
        return {"url": made.url, "server": bin_server}


@pytest.fixture(autouse=True)
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples write files, and README.md reads one; no proxy of the machine's comes between."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "holiday.mkv").write_bytes(bytes(100_000))
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("page", [page for page in PAGES if any(b.kind != "before" for b in read_blocks(page))])
async def test_examples_run(page: str, names: dict[str, Any], request: pytest.FixtureRequest) -> None:
    """Every example on the page runs, in order, and prints what it says."""
    runner = Page(names, request)
    for block in read_blocks(page):
        if block.kind != "before":
            await runner.run(block)


@pytest.mark.parametrize("peer", PEERS)
async def test_what_stood_before_runs_too(peer: str, names: dict[str, Any], request: pytest.FixtureRequest) -> None:
    """What a page shows as another library's code is that library's code."""
    if importlib.util.find_spec(peer) is None:
        pytest.skip(f"{peer} is not installed")
    page = f"docs/from-{peer}.md"
    blocks = [block for block in read_blocks(page) if block.kind in ("setup", "before")]
    assert len(blocks) > 1
    runner = Page(names, request)
    for block in blocks:
        await runner.run(block)


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/")])
def test_examples_fit_the_page(page: str) -> None:
    """No example has lines that have to be scrolled."""
    shown = [line for block in read_blocks(page) if block.kind != "setup" for line in block.code.splitlines()]
    assert not [line for line in shown if len(line) > 92]


def test_every_example_is_marked_as_python() -> None:
    """No Python hides from these tests under another mark."""
    for page, path in PAGES.items():
        for found in _BLOCK.finditer(path.read_text("utf-8")):
            assert (found["info"] or "").split()[:1] not in (["py"], ["python3"], ["pycon"], ["{code-block}"]), page


# Links ------------------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them, and of its explicit targets."""
    titles = re.findall(r"^#{1,6} +(.+?) *$", _BLOCK.sub("", text), re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    return slugs | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link leads to a file, and to a heading in it where it names one."""
    path = PAGES[page]
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text("utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{page} links to {link}"
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), f"{page} links to {link}"


# The reference ----------------------------------------------------------------------------------------------


def documented() -> set[int]:
    """The ids of all objects in the reference."""
    found: list[Any] = []
    for directive, name in re.findall(r"auto(\w+):: ([\w.]+)", (DOCS / "api.md").read_text("utf-8")):
        if directive == "module":
            module = importlib.import_module(name)
            found += [value for value in vars(module).values() if getattr(value, "__module__", None) == name]
        else:
            module_name, _, attribute = name.rpartition(".")
            found.append(getattr(importlib.import_module(module_name), attribute))
    return {id(value) for value in found}


@pytest.mark.parametrize(
    "module",
    [aioreq, aioreq.bulk, aioreq.exceptions, aioreq.multipart, aioreq.opentelemetry, aioreq.testing],
    ids=lambda module: module.__name__,
)
def test_the_reference_has_every_public_name(module: Any) -> None:
    """What a module exports is in the reference."""
    shown = documented()
    missing = [
        name
        for name in set(module.__all__) - {"__version__"}
        if not inspect.ismodule(value := getattr(module, name)) and id(value) not in shown
    ]
    assert not missing


@pytest.mark.parametrize("name", sorted(set(aioreq.__all__) - {"__version__"}))
def test_every_public_name_has_a_docstring(name: str) -> None:
    """A docstring says what a public name is for."""
    assert inspect.getdoc(getattr(aioreq, name))
