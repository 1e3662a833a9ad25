"""The command line."""

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aioreq._cli import main
from aioreq._cli._again import same_again
from aioreq._cli._arguments import parse_size
from aioreq._cli._completion import _commands, _options
from aioreq._cli._display import Bar, Display, Lines, display_for
from aioreq._version import __version__
from aioreq.bulk import BulkProgress
from aioreq.testing import faults
from tests.servers.nginx import PASSWORD, USERNAME, Nginx

from .conftest import Bin, MakeFiles, sha256


class Ran:
    """What a command did."""

    def __init__(self, status: int, out: bytes | None, err: bytes | None) -> None:
        self.status, self.bytes = status, out or b""
        self.out, self.err = self.bytes.decode(errors="replace"), (err or b"").decode()


Run = Callable[..., Ran]


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Run a command in this process."""

    def run(*arguments: Any) -> Ran:
        try:
            status: Any = main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code
        return Ran(status, *capfdbinary.readouterr())

    return run


def child(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
    # Not in -X dev: on a busy machine asyncio then tells of slow callbacks on standard error.
    command = [sys.executable, "-W", "error", "-m", "aioreq", *map(str, arguments)]
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(command, **options)


def finished(process: subprocess.Popen[bytes], given: bytes | None = None) -> Ran:
    with process:
        out, err = process.communicate(given, timeout=60)
    return Ran(process.returncode, out, err)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("a.txt", "2024/b.txt", "2024/ü c.txt"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name * 100)
    return folder


def names(receipts: list[dict[str, Any]]) -> set[str]:
    return {part["filename"] for receipt in receipts for part in receipt["parts"] if part["filename"]}


BELOW = {"a.txt", "2024/b.txt", "2024/ü c.txt"}


class TestUpload:
    """aioreq upload."""

    async def test_folders_and_files(self, new_bin: Bin, photos: Path, make_files: MakeFiles):
        """Folders go whole and recursively, under their names; the summary tells how many and how fast."""
        [file] = make_files(1)
        ran = finished(child("upload", new_bin.url, photos, file))
        assert (ran.status, ran.err) == (0, "")
        assert re.match(r"4 uploaded \(2.9 kB in .* m?s, .*B/s\)\n  slowest: .* m?s /", ran.out)
        assert names(await new_bin.receipts()) == {f"photos/{name}" for name in BELOW} | {file.name}

    async def test_the_contents_of_a_folder(self, new_bin: Bin, photos: Path):
        """A slash behind a folder leaves its own name out."""
        assert finished(child("upload", new_bin.url, f"{photos}/")).status == 0
        assert names(await new_bin.receipts()) == BELOW

    def test_raw_below_a_url(self, run: Run, nginx: Nginx, photos: Path):
        """With --method PUT files go to their names below the URL."""
        ran = run("upload", "--method", "PUT", nginx.plain.url("/dav/cli/"), f"{photos}/")
        assert ran.status == 0
        assert {name: nginx.stored(f"cli/{name}").read_text() for name in BELOW} == {name: name * 100 for name in BELOW}

    def test_names_in_the_url(self, run: Run, nginx: Nginx, photos: Path):
        """{name} and {base} in the URL are the item's."""
        for template in ("whole/{name}", "flat/{base}"):
            assert run("upload", "-X", "PUT", nginx.plain.url(f"/dav/{template}"), f"{photos}/").status == 0
        assert nginx.stored("whole/2024/ü c.txt").is_file()
        assert {path.name for path in nginx.stored("flat").iterdir()} == {"a.txt", "b.txt", "ü c.txt"}
        ran = run("upload", "-X", "PUT", nginx.plain.url("/dav/{nmae}"), photos)
        assert (ran.status, ran.err) == (2, "aioreq: the URL has {nmae}: what can be filled in is {name} and {base}\n")

    async def test_fields_headers_digest(self, new_bin: Bin, photos: Path):
        """Fields, headers and digests go along."""
        options = ("--field", "picture", "-d", "album=x=y", "--data", "by=me", "-H", "Idempotency-Key: k")
        ran = finished(child("upload", new_bin.url, photos / "a.txt", *options, "--digest", "sha256"))
        assert ran.status == 0
        [receipt] = await new_bin.receipts()
        assert [(part["name"], part.get("value")) for part in receipt["parts"]] == [
            ("album", "x=y"),
            ("by", "me"),
            ("sha256", sha256(photos / "a.txt")),
            ("picture", None),
        ]
        assert receipt["idempotency_key"] == "k"

    def test_credentials(self, run: Run, nginx: Nginx, photos: Path, monkeypatch: pytest.MonkeyPatch):
        """--auth sends credentials; a password that is left out is asked for."""
        url = nginx.plain.url("/private/")
        assert run("upload", "--auth", f"{USERNAME}:{PASSWORD}", "-X", "PUT", url, photos).status == 0
        assert run("upload", "--auth", f"{USERNAME}:wrong", "-X", "PUT", url, photos).status == 1
        monkeypatch.setattr("getpass.getpass", lambda prompt: PASSWORD if USERNAME in prompt else "")
        assert run("upload", "--auth", USERNAME, "-X", "PUT", url, photos).status == 0

    def test_no_terminal_to_ask_for_a_password(self, photos: Path):
        """Where there is no terminal a password is not asked for: standard input may be a manifest."""
        command = [sys.executable, "-m", "aioreq", "upload", "--auth", "ann", "http://example.org/", str(photos)]
        ran = subprocess.run(command, input=b"secret\n", capture_output=True, start_new_session=True, timeout=60)
        assert ran.returncode == 2
        assert ran.stderr.startswith(b"aioreq: there is no terminal to ask for the password: ")

    def test_trust(self, run: Run, nginx: Nginx, photos: Path, certificates: Any):
        """--cacert trusts, --insecure does not care; without them a private certificate is refused."""
        command = ("upload", "-X", "PUT", "--retries", 0, nginx.tls.url("/dav/tls/"), photos)
        assert run(*command).status == 1
        assert run(*command, "--insecure").status == 0
        assert run(*command, "--cacert", certificates.authority, "--cert", certificates.client).status == 0

    async def test_a_manifest_on_stdin(self, new_bin: Bin, photos: Path):
        """--manifest - reads the items from standard input; each may have its own URL."""
        lines = [{"path": str(photos / "a.txt"), "url": f"{new_bin.url}?own", "name": "first"}]
        process = child("upload", "-", "--manifest", "-", "--json", stdin=subprocess.PIPE)
        ran = finished(process, "\n".join(map(json.dumps, lines)).encode())
        assert ran.status == 0
        assert json.loads(ran.out)["url"] == f"{new_bin.url}?own"
        assert names(await new_bin.receipts()) == {"first"}

    def test_a_list_of_paths(self, run: Run, fault_server: Any, make_files: MakeFiles, tmp_path: Path):
        """A manifest may be a list of paths, and go along with paths."""
        files, server = make_files(3), fault_server()
        (tmp_path / "list").write_text(f"{files[0]}\n{files[1]}\n")
        assert run("upload", server.url, files[2], "--manifest", tmp_path / "list").status == 0
        assert len(server.requests) == 3

    @pytest.mark.parametrize("name", [b"caf\xe9", b"\x1b[2J\nx", "ü €".encode(), b"100% & <b> {name}"])
    def test_any_name(self, run: Run, nginx: Nginx, tmp_path: Path, name: bytes):
        """A file may be called anything: it arrives under its bytes, and is shown without what a terminal obeys."""
        path = tmp_path / os.fsdecode(name)
        path.write_bytes(b"content")
        reports = ("--report", tmp_path / "r.jsonl", "--report", tmp_path / "r.html", "--journal", tmp_path / "j.db")
        target = nginx.plain.url(f"/dav/{tmp_path.name}/")
        ran = run("upload", "-X", "PUT", target, *[path] * 5, tmp_path / f"missing {os.fsdecode(name)}", *reports)
        assert (ran.status, "1 uploaded" in ran.out, "4 done before" in ran.out) == (1, True, True)
        assert "\x1b" not in ran.out + ran.err
        assert len([line for line in ran.err.splitlines() if not line[0].isdigit()]) == 1
        assert [os.fsencode(stored.name) for stored in nginx.stored(tmp_path.name).iterdir()] == [name]
        assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 6

    def test_what_fails(self, run: Run, fault_server: Any, make_files: MakeFiles, tmp_path: Path):
        """Each failure is told when it happens and in the summary; the exit status is 1."""
        server = fault_server(faults.in_turn(*[faults.ok(413)] * 12, faults.ok()))
        ran = run("upload", server.url, *make_files(15), tmp_path / "missing")
        assert ran.status == 1
        failed = [line for line in ran.err.splitlines() if line.startswith("failed: ")]
        assert len(failed) == 13
        assert any("can't read" in line for line in failed)
        assert any("413 Client Error" in line for line in failed)
        assert "3 uploaded" in ran.out
        assert "13 failed" in ran.out
        assert "  and 3 more" in ran.out

    def test_quiet(self, run: Run, fault_server: Any, make_files: MakeFiles):
        """--quiet tells what has failed, and nothing else."""
        server = fault_server(faults.in_turn(faults.ok(413), faults.ok()))
        ran = run("upload", "--quiet", server.url, *make_files(2))
        assert (ran.status, ran.out) == (1, "")
        assert len(ran.err.splitlines()) == 1

    def test_stop_on_error(self, run: Run, fault_server: Any, make_files: MakeFiles):
        """--stop-on-error begins nothing more behind a failure."""
        server = fault_server(faults.in_turn(faults.ok(), faults.ok(413), faults.ok()))
        assert run("upload", "--stop-on-error", "--concurrency", 1, server.url, *make_files(50)).status == 1
        assert len(server.requests) < 10

    @pytest.mark.parametrize(("retries", "status"), [(0, 1), (1, 0)])
    def test_retries(self, run: Run, fault_server: Any, make_files: MakeFiles, retries: int, status: int):
        """--retries counts the attempts beyond the first."""
        server = fault_server(faults.in_turn(faults.ok(503, (("Retry-After", "0"),)), faults.ok()))
        ran = run("upload", "--retries", retries, server.url, *make_files(1))
        assert ran.status == status
        assert ("1 retry" in ran.out) is bool(retries)

    def test_json(self, run: Run, fault_server: Any, make_files: MakeFiles):
        """--json prints a line of JSON for each result, and nothing else to standard output."""
        server, files = fault_server(faults.in_turn(faults.ok(201), faults.ok(413))), make_files(2)
        ran = run("upload", "--json", "--concurrency", 1, "--digest", "sha256", server.url, *files)
        first, second = map(json.loads, ran.out.splitlines())
        assert first == {
            "path": str(files[0]), "name": files[0].name, "url": f"{server.url}/", "ok": True, "status": 201,
            "skipped": False, "problem": None, "attempts": 1, "size": 100, "sent": server.requests[0].received,
            "started": first["started"], "duration": first["duration"], "elapsed": first["elapsed"],
            "key": server.requests[0].header("Idempotency-Key"), "digest": sha256(files[0]),
        }  # fmt: skip
        assert (second["ok"], second["status"]) == (False, 413)
        assert "1 uploaded" in ran.err

    def test_reports(self, run: Run, fault_server: Any, make_files: MakeFiles, tmp_path: Path):
        """--report writes results to a .jsonl file and a picture to a .html file."""
        lines, page = tmp_path / "out.jsonl", tmp_path / "run.html"
        files = make_files(5)
        assert run("upload", fault_server().url, *files, "--report", lines, "--report", page).status == 0
        assert {json.loads(line)["path"] for line in lines.read_text().splitlines()} == set(map(str, files))
        assert "<svg" in page.read_text()
        assert "<b>5</b> uploaded" in page.read_text()

    def test_a_journal(self, run: Run, fault_server: Any, make_files: MakeFiles, tmp_path: Path):
        """With --journal the same command sends what is left."""
        server, files = fault_server(faults.in_turn(faults.ok(413), faults.ok())), make_files(5)
        command = ("upload", server.url, *files, "--journal", tmp_path / "job.db")
        assert run(*command).status == 1
        ran = run(*command)
        assert ran.status == 0
        assert "1 uploaded" in ran.out
        assert "4 done before" in ran.out
        assert len(server.requests) == 6

    @pytest.mark.parametrize("concurrency", [(), ("--concurrency", "auto"), ("--concurrency", "10")], ids=str)
    def test_few_descriptors(
        self, fault_server: Any, make_files: MakeFiles, tmp_path: Path, concurrency: tuple[str, ...]
    ):
        """No more files and sockets are open than the system allows, however large the files are."""
        server, files = fault_server(), make_files(100, size=300_000)
        words = ["upload", server.url, files[0].parent, "--journal", tmp_path / "job.db", *concurrency]
        shell = ["sh", "-c", 'ulimit -n 96 && exec "$@"', "sh", sys.executable, "-W", "error", "-m", "aioreq"]
        ran = subprocess.run([*shell, *map(str, words)], capture_output=True, text=True, timeout=60)
        assert (ran.returncode, len(server.requests)) == (0, 100)
        assert len(server.connections) <= 10

    def test_a_dry_run(self, run: Run, fault_server: Any, make_files: MakeFiles, tmp_path: Path):
        """--dry-run says what would be sent, sends nothing, and begins no journal."""
        server, files, journal = fault_server(), make_files(3), tmp_path / "job.db"
        ran = run("upload", "--dry-run", server.url, *files, "--journal", journal)
        assert ran.status == 0
        assert ran.out.splitlines() == [*(f"POST {server.url} {path}" for path in files), "3 to upload, 300 B"]
        assert server.requests == []
        assert not journal.exists()
        run("upload", server.url, *files[:2], "--journal", journal)
        ran = run("upload", "--dry-run", server.url, *files, tmp_path / "missing", "--journal", journal)
        assert ran.status == 1
        assert ran.out.splitlines()[-1] == "1 to upload, 100 B; 2 done before; 1 can't be"
        ran = run("upload", "--dry-run", "--quiet", server.url, *files, tmp_path / "missing", "--journal", journal)
        assert [line.partition(" ")[0] for line in ran.out.splitlines()] == ["can't:", "1"]
        ran = run("upload", "--dry-run", "--json", server.url, *files, tmp_path / "missing", "--journal", journal)
        planned = [json.loads(line) for line in ran.out.splitlines()]
        assert [each["done"] for each in planned] == [True, True, False, False]
        assert [each["problem"] is None for each in planned] == [True, True, True, False]
        assert "1 to upload" in ran.err

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("upload",), "URL"),
            (("upload", "http://h/"), "nothing to upload"),
            (("upload", "example.org", "x"), "http://example.org"),
            (("upload", "photos", "http://h/{name}"), "scheme"),
            (("upload", "{name}", "x"), "scheme"),
            (("upload", "http://h/", "x", "--unknown"), "--unknown"),
            (("upload", "http://h/", "x", "--conc", "4"), "--conc"),
            (("upload", "http://h/", "x", "--concurrency", "many"), "auto"),
            (("upload", "http://h/", "x", "--concurrency", "0"), "ulimit"),
            (("upload", "http://h/", "x", "--rate-limit", "fast"), "10M"),
            (("upload", "http://h/", "x", "--retries", "-1"), "0 or more"),
            (("upload", "http://h/", "x", "--timeout", "0"), "above 0"),
            (("upload", "http://h/", "x", "--report", "r.txt"), ".jsonl"),
            (("upload", "http://h/", "x", "--report", "missing/r.html"), "missing"),
            (("upload", "http://h/", "x", "--method", "A B"), "token"),
            (("upload", "http://h/", "x", "-X", "PUT", "-d", "a=b"), "form"),
            (("upload", "http://h/", "x", "-d", "ab"), "NAME=VALUE"),
            (("upload", "http://h/", "x", "-H", "ab"), "NAME: VALUE"),
            (("upload", "http://h/", "x", "-H", "a b: c"), "name"),
            (("upload", "http://h/", "--manifest", "missing.csv"), "missing.csv"),
            (("upload", "http://h/", "--manifest", "bad.jsonl"), "line 1"),
            (("upload", "http://h/", "x", "--journal", "bad.jsonl"), "not a journal"),
            (("upload", "http://h/", "x", "--cacert", "missing.pem"), "missing.pem"),
            (("fetch", "http://h/"), "fetch"),
            (("completion", "csh"), "csh"),
            (("post", "http://h/", "-F", "a=@x;size=3"), ";type="),
            (("post", "http://h/", "-d", "a=b", "--body", "c"), "--body"),
            (("get", "h"), "scheme"),
            ((), "COMMAND"),
        ],
    )
    def test_usage(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
    ):
        """What can't be meant is told in a line, with exit status 2."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / "bad.jsonl").write_text("{not JSON")
        ran = run(*arguments)
        assert (ran.status, ran.out) == (2, "")
        assert told in ran.err.splitlines()[-1]

    @pytest.mark.parametrize(
        ("text", "number"),
        [("1000", 1000), ("500k", 500e3), ("1.5M", 1.5e6), ("2MiB", 2 * 2**20), ("10 MB/s", 1e7), ("1Gi", 2**30)],
    )
    def test_sizes(self, text: str, number: float):
        """Bytes are written as people do it."""
        assert parse_size(text) == number


class TestInterrupts:
    """Ctrl-C."""

    @pytest.mark.parametrize("journal", [True, False])
    async def test_once(self, fault_server: Any, make_files: MakeFiles, tmp_path: Path, journal: bool):
        """What is on the way is finished, and the program says how to go on."""
        server = fault_server(faults.in_turn(faults.ok(), faults.stall()))
        options = ("--journal", tmp_path / "job.db") if journal else ()
        arguments = ("upload", server.url, *make_files(50), "--concurrency", 4, *options)
        process = child(*arguments)
        await server.reached("stalled", 4)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.readline() == b"finishing 4 uploads that are on the way; Ctrl-C again gives them up\n"
        server.release("stalled")
        ran = finished(process)
        assert (ran.status, len(server.requests)) == (130, 5)
        assert "5 uploaded" in ran.out
        assert ("in the journal" in ran.err) is journal
        assert ran.err.splitlines()[-1].split() == ["aioreq", *map(str, arguments)]
        if journal:
            assert finished(child(*arguments)).status == 0
            assert len(server.requests) == 50

    async def test_twice(self, fault_server: Any, make_files: MakeFiles):
        """A second Ctrl-C gives up what is on the way."""
        server = fault_server(faults.in_turn(faults.ok(), faults.stall()))
        process = child("upload", server.url, *make_files(50), "--concurrency", 4)
        await server.reached("stalled", 4)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        ran = finished(process)
        assert ran.status == 130
        assert "1 uploaded" in ran.out
        assert "Traceback" not in ran.err

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["--auth", "me:hidden"], "--auth me"),
            (["--auth=me:hidden:too"], "--auth=me"),
            (["--auth", "me"], "--auth me"),
            (["-H", "Authorization: hidden"], "-H 'Authorization: ...'"),
            (["-HX-Api-Key:hidden"], "'-HX-Api-Key: ...'"),
            (["--header=cookie: hidden"], "'--header=cookie: ...'"),
            (["--header", "X-Album: 1", "a:b"], "--header 'X-Album: 1' a:b"),
            (["--proxy", "http://me:hidden@proxy:1/"], "--proxy http://me:...@proxy:1/"),
        ],
    )
    def test_what_is_told_holds_no_secret(self, words: list[str], told: str):
        """The command to go on with is told without passwords, which may end in a log; --auth asks for its own."""
        assert same_again(["upload", "http://h/", *words]) == f"aioreq upload http://h/ {told}"

    async def test_of_a_request(self, fault_server: Any):
        """A single request ends at once."""
        server = fault_server(faults.silent())
        process = child("get", server.url)
        await server.reached("silent")
        process.send_signal(signal.SIGINT)
        ran = finished(process)
        assert (ran.status, ran.err) == (130, "aioreq: interrupted\n")


class TestDisplays:
    """What is seen while it goes on."""

    def test_lines(self, run: Run, fault_server: Any, make_files: MakeFiles):
        """Without a terminal there is a line now and then, to standard error."""
        ran = run("upload", fault_server().url, *make_files(2))
        assert "\x1b" not in ran.err + ran.out

    def test_a_line_for_each_tenth(self, capsys: pytest.CaptureFixture[str]):
        """A line for each tenth of the files, or for each thousand of nobody knows how many."""
        for total, step, lines in ((50, 1, 9), (None, 100, 5)):
            lines_display = Lines(sys.stderr)
            for finished in range(0, 51 * step, step):
                lines_display.show(
                    BulkProgress(total=total, uploaded=finished, bytes_sent=1000 * finished, speed=5e6, elapsed=9)
                )
            shown = capsys.readouterr().err.splitlines()
            assert len(shown) == lines
            assert ("left" in shown[0]) is (total is not None)
        assert shown[0] == "1,000 files, 1 MB sent, 5 MB/s"

    async def test_a_bar(self, fault_server: Any, make_files: MakeFiles):
        """On a terminal there is a bar, and failures are told above it."""
        server = fault_server(faults.in_turn(faults.ok(413), faults.ok()))
        files = make_files(20)
        ours, theirs = pty.openpty()
        process = child("upload", server.url, *files, stderr=theirs, env={**os.environ, "TERM": "xterm"})
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # how a terminal tells that nobody writes to it any more
                break
        os.close(ours)
        assert finished(process).status == 1
        assert b"\x1b[" in shown
        assert "━".encode() in shown
        assert b"20 of 20 files, 1 failed" in shown
        assert re.search(rb"failed: /[^\r\n]*: 413", shown)

    def test_which_one(self, monkeypatch: pytest.MonkeyPatch):
        """Nothing for the silent, a bar for a terminal, lines elsewhere and without rich."""

        class Terminal:
            def isatty(self) -> bool:
                return True

            def write(self, text: str) -> None: ...

            def flush(self) -> None: ...

        terminal: Any = Terminal()
        assert type(display_for(silent=True, stream=terminal)) is Display
        assert type(display_for(silent=False, stream=terminal)) is Bar
        monkeypatch.setitem(sys.modules, "rich.console", None)
        assert type(display_for(silent=False, stream=terminal)) is Lines


class TestRequests:
    """aioreq get, head, post, put, delete."""

    def test_get(self, run: Run, nginx: Nginx):
        """The answer's body goes to standard output, byte for byte."""
        ran = run("get", nginx.plain.url("/static/pattern.bin"))
        assert (ran.status, ran.err) == (0, "")
        assert ran.bytes == (nginx.data / "static/pattern.bin").read_bytes()

    def test_its_head(self, run: Run, nginx: Nginx):
        """--include prints the head too, and head nothing else."""
        ran = run("get", "-i", nginx.plain.url("/static/hello.txt"))
        head, _, body = ran.out.partition("\n\n")
        assert head.startswith("HTTP/1.1 200 OK\nServer: nginx")
        assert body == "hello, world\n"
        assert run("head", nginx.plain.url("/static/hello.txt")).out.startswith("HTTP/1.1 200 OK\n")

    def test_into_a_file(self, run: Run, nginx: Nginx, tmp_path: Path):
        """--output writes the body to a file; what an error says is shown instead."""
        target = tmp_path / "out.bin"
        ran = run("get", nginx.plain.url("/static/pattern.bin"), "-o", target)
        assert (ran.status, ran.out) == (0, "")
        assert target.read_bytes() == (nginx.data / "static/pattern.bin").read_bytes()
        target.unlink()
        ran = run("get", nginx.plain.url("/static/missing"), "-o", target)
        assert ran.status == 1
        assert "404" in ran.out
        assert not target.exists()

    async def test_json(self, postbin: str):
        """--json prints the answer as one object."""
        ran = finished(child("get", f"{postbin}/get?a=b", "-d", "c=ü d", "--json", "-H", "X-Y: z"))
        answer = json.loads(ran.out)
        assert (answer["status"], answer["reason"], answer["body"]["args"]) == (200, "OK", {"a": "b", "c": "ü d"})
        assert answer["body"]["headers"]["x-y"] == "z"
        assert dict(answer["headers"])["content-type"] == "application/json"

    async def test_forms(self, new_bin: Bin, photos: Path):
        """-F sends fields and files, -d fields."""
        file = photos / "a.txt"
        options = ("-F", "x=1", "-F", f"f=@{file}", "-F", f"g=@{file};type=text/x;filename=n", "-d", "y=2")
        assert finished(child("post", new_bin.url, *options)).status == 0
        assert finished(child("post", new_bin.url, "-d", "y=2", "-d", "z=3")).status == 0
        assert finished(child("post", new_bin.url, "-F", "f=@-", stdin=subprocess.PIPE), b"piped").status == 0
        piped, urlencoded, form = await new_bin.receipts()
        assert [(p["name"], p["filename"], p["content_type"]) for p in form["parts"]] == [
            ("y", None, "text/plain; charset=utf-8"),
            ("x", None, "text/plain; charset=utf-8"),
            ("f", "a.txt", "text/plain"),
            ("g", "n", "text/x"),
        ]
        assert [(p["name"], p["value"]) for p in urlencoded["parts"]] == [("y", "2"), ("z", "3")]
        assert (piped["parts"][0]["filename"], piped["parts"][0]["size"]) == ("f", 5)

    def test_bodies(self, run: Run, nginx: Nginx, photos: Path):
        """--body sends text, or a file; delete deletes it."""
        url = nginx.plain.url("/dav/body.txt")
        assert run("put", url, "--body", "täxt").status == 0
        assert nginx.stored("body.txt").read_text("utf-8") == "täxt"
        assert run("put", url, "--body", f"@{photos / 'a.txt'}").status == 0
        assert nginx.stored("body.txt").read_bytes() == (photos / "a.txt").read_bytes()
        assert finished(child("put", url, "--body", "@-", stdin=subprocess.PIPE), b"piped").status == 0
        assert nginx.stored("body.txt").read_bytes() == b"piped"
        assert run("delete", url).status == 0
        assert not nginx.stored("body.txt").exists()

    def test_what_fails(self, run: Run, nginx: Nginx, fault_server: Any):
        """An answer of 400 or more is shown, with status 1; so is what prevented one."""
        ran = run("get", nginx.plain.url("/static/missing"))
        assert ran.status == 1
        assert "404 Not Found" in ran.out
        assert ran.err == "aioreq: 404 Not Found\n"
        ran = run("get", fault_server(faults.reset_at_once()).url)
        assert (ran.status, ran.out) == (1, "")
        assert ran.err.startswith("aioreq: the server ")

    async def test_a_reader_that_goes(self, nginx: Nginx):
        """When whoever reads the output has gone, the program ends without a word."""
        process = child("get", nginx.plain.url("/static/pattern.bin"))
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        ran = Ran(process.wait(60), b"", process.stderr.read() if process.stderr else b"")
        assert process.stderr is not None
        process.stderr.close()
        assert (ran.status, ran.err) == (1, "")


class TestCompletion:
    """Shell completion."""

    @pytest.mark.parametrize(
        ("words", "completed"),
        [
            (["up"], {"upload"}),
            (["upload", "--jo"], {"--journal"}),
            (["upload", "--digest", ""], {"sha256", "md5", "crc32c"}),
            (["completion", ""], {"bash", "zsh", "fish"}),
            (["get", "--out"], {"--output"}),
            (["upload", "http://h/", "setup"], {"setup.cfg"}),
        ],
    )
    def test_bash(self, run: Run, tmp_path: Path, words: list[str], completed: set[str]):
        """Commands, options, their choices, and files are completed."""
        (tmp_path / "setup.cfg").touch()
        script = run("completion", "bash").out
        quoted = " ".join(f"'{word}'" for word in ["aioreq", *words])
        asked = (
            f"{script}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _aioreq; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
        shell = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True, cwd=tmp_path)
        assert set(shell.stdout.split()) == completed
        assert shell.stderr == ""

    def test_other_shells(self, run: Run):
        """zsh takes bash's script; fish gets its own."""
        zsh = run("completion", "zsh").out
        assert zsh.index("compinit") < zsh.index("bashcompinit") < zsh.index("_aioreq()")
        fish = run("completion", "fish").out.splitlines()
        assert "complete -c aioreq -n __fish_use_subcommand -f -a 'upload get head post put delete completion'" in fish
        digest = next(line for line in fish if "-l digest" in line)
        assert digest.endswith("-l digest -x -a 'sha256 md5 crc32c' -d 'compute and send a digest'")
        assert all(line.count("'") % 2 == line.count("\\'") % 2 for line in fish)


def test_version_and_help(run: Run):
    """--version and --help print to standard output, and end well."""
    assert run("--version").out == f"aioreq {__version__}\n"
    for command in ("upload", "get", "head", "post", "put", "delete", "completion"):
        ran = run(command, "--help")
        assert (ran.status, ran.err) == (0, "")
        assert ran.out.startswith(f"usage: aioreq {command}")


PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")


async def test_the_documentation(new_bin: Bin, postbin: str, nginx: Nginx, tmp_path: Path):
    """Every command of its page runs, in order, and says what stands behind it."""
    for name in ("photos/a.jpg", "photos/2024/b.jpg", "photos/2024/c.jpg", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    places = {"upload": new_bin.url, "get": f"{postbin}/get", "dav": nginx.plain.url("/dav")}
    program = f'aioreq() {{ {sys.executable} -X dev -W error -m aioreq "$@"; }}'
    blocks = re.findall(r"^```(sh|text)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 6
    out = ""
    for kind, text in blocks:
        if kind == "text":
            assert out.splitlines()[-1] == text.strip()
            continue
        commands = re.sub(r"https://example\.org/(\w+)", lambda found: places[found[1]], text)
        shell = ["bash", "-e", "-o", "pipefail", "-c", f"{program}\n{commands}"]
        ran = await asyncio.to_thread(
            subprocess.run, shell, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, (text, ran.stderr)
        out = ran.stdout
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "run.html").read_text().startswith("<!doctype html>")
    assert (nginx.data / "dav/b.jpg").read_text() == "photos/2024/b.jpg"


def test_the_documentation_has_every_option():
    """No option is missing from the page."""
    documented = set(re.findall(r"`(--?[a-zA-Z][\w-]*)", PAGE))
    for command in _commands().values():
        for action in _options(command):
            words = set(action.option_strings)
            assert words & documented or not words or "--help" in words, words
