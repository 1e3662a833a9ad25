"""The examples run as their first lines say."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import inside_an_app
import pytest
from postbin import running_bin

import aioreq
from aioreq.testing import ASGITransport
from tests.servers.certificates import Certificates
from tests.servers.nginx import Nginx

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Not in -X dev: on a busy machine asyncio then tells of slow callbacks on standard error.
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def bin_url() -> Iterator[str]:
    with running_bin() as url:
        import urllib.request

        made = urllib.request.urlopen(urllib.request.Request(url, method="POST"))
        with made:
            yield made.url


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "größe.bin"
    path.write_bytes(bytes(range(256)) * 5000)
    return str(path)


def succeeded(result: subprocess.CompletedProcess[str]) -> str:
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_one_file_arrives(bin_url: str, file: str) -> None:
    """one_file.py sends a file and shows the server's receipt."""
    assert '"size":1280000' in succeeded(run("one_file.py", bin_url, file)).replace(" ", "")


def test_a_form_has_fields_and_files(bin_url: str, file: str) -> None:
    """form.py sends fields and files together."""
    lines = succeeded(run("form.py", bin_url, file, file)).splitlines()
    assert [line.split()[0] for line in lines] == ["title", "tags", "tags", "cover", "picture", "picture"]


def test_an_aiofiles_file_is_sent_twice_whole(bin_url: str, file: str) -> None:
    """async_file.py sends the same open file twice, and the same bytes arrive."""
    first, again = succeeded(run("async_file.py", bin_url, file)).split()
    assert first == again


@pytest.mark.parametrize(
    "arguments",
    [
        ("form.py", "http:", "/nowhere"),
        ("async_file.py", "http://127.0.0.1", "/nowhere/none"),
        ("put_with_progress.py", "http:", "/nowhere"),
        ("request_send.py", "http://127.0.0.1", "/nowhere/none"),
        ("bulk_upload.py", "/nowhere/none"),
        ("bulk_upload.py", "--url", "http:", __file__),
    ],
    ids=" ".join,
)
def test_wrong_input(arguments: tuple[str, ...]) -> None:
    """What can't be uploaded is told in a sentence."""
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("not uploaded: ")
    assert "Traceback" not in result.stderr


def test_put_shows_progress_to_the_end(bin_url: str, file: str) -> None:
    """put_with_progress.py ends at 100 %."""
    assert "1,280,000 bytes (100%)" in succeeded(run("put_with_progress.py", bin_url, file))


@pytest.mark.parametrize(
    "name", ["one_file", "form", "async_file", "put_with_progress", "request_send", "private_ca", "inside_an_app"]
)
def test_wrong_use(name: str) -> None:
    """Without what they need the examples say how they are used."""
    result = run(f"{name}.py", "--help")
    assert result.returncode == 1
    assert f"python examples/{name}.py URL" in result.stderr
    assert "Traceback" not in result.stderr


def test_one_file_says_why_not(bin_url: str, file: str) -> None:
    """one_file.py ends with a sentence when there is no such file, or nobody takes it."""
    assert run("one_file.py", bin_url, file + "?").stderr.startswith("not uploaded: can't read ")
    assert "404 Client Error" in run("one_file.py", bin_url + "-", file).stderr


def test_request_send(bin_url: str, file: str) -> None:
    """request_send.py sends, does not send twice, and sends anyway."""
    assert succeeded(run("request_send.py", bin_url, file)).count("True") == 3


def test_a_private_authority_is_trusted_when_named(certificates: Certificates, file: str) -> None:
    """private_ca.py sends over HTTPS to a server that only its own CA vouches for, and not without it."""
    with running_bin(ssl_certfile=str(certificates.server), ssl_keyfile=str(certificates.server)) as url:
        assert "200" in succeeded(run("private_ca.py", url + "/", str(certificates.authority), file))
        refused = run("private_ca.py", url, str(certificates.other_authority), file)
    assert refused.returncode == 1
    assert "not trusted" in refused.stderr


async def test_an_app_passes_uploads_on(bin_url: str) -> None:
    """inside_an_app.py relays a body as it arrives, with its length."""
    app = inside_an_app.create_app(bin_url)
    pieces = [{"type": "http.request", "body": b"x" * 100_000, "more_body": left > 0} for left in (2, 1, 0)]
    answered: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return pieces.pop(0)

    async def send(message: dict[str, Any]) -> None:
        answered.append(message)

    scope = {"type": "http", "method": "PUT", "path": "/name", "headers": [(b"content-length", b"300000")], "app": app}
    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    receipt = json.loads(b"".join(message.get("body", b"") for message in answered))
    assert (receipt["length"], receipt["received"]) == (300_000, 300_000)


async def test_an_app_says_when_nobody_is_behind_it() -> None:
    """inside_an_app.py answers 502 where the server behind it does not."""
    app = inside_an_app.create_app("http://127.0.0.1:9/")
    async with (
        app.router.lifespan_context(app),
        aioreq.Session(transport=ASGITransport(app), base_url="http://app") as session,
    ):
        response = await session.put("/name", data=b"12345")
    assert response.status_code == 502
    assert "nobody listens there" in response.json()["error"]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    for number in range(30):
        (tmp_path / f"file {number} ü.txt").write_bytes(b"." * number * 1000)
    return str(tmp_path)


def test_bulk_upload_to_the_embedded_bin(folder: str) -> None:
    """bulk_upload.py sends a folder to a bin of its own, in plain lines, and verifies each file."""
    output = succeeded(run("bulk_upload.py", folder))
    assert "30 of 30 files verified by SHA-256" in output
    assert "\x1b" not in output


def test_bulk_upload_to_nginx(folder: str, nginx: Nginx) -> None:
    """bulk_upload.py --put stores the files with a real WebDAV server, and reads them back."""
    output = succeeded(run("bulk_upload.py", "--put", "--url", nginx.plain.url("/dav/demo"), folder))
    assert "30 of 30 files verified by SHA-256" in output


def test_bulk_upload_says_what_failed(folder: str) -> None:
    """bulk_upload.py ends with status 1, and names each file that did not arrive."""
    with running_bin() as url:
        result = run("bulk_upload.py", "--put", "--url", url + "/status/500", folder)
    assert result.returncode == 1
    assert result.stdout.count("FAILED") == 30


def test_bulk_upload_draws_a_bar_on_a_terminal(folder: str) -> None:
    """With a terminal there is a progress bar."""
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "bulk_upload.py"), folder], stdout=terminal, stderr=terminal, env=environment
    )
    os.close(terminal)
    drawn = b""
    try:
        while piece := os.read(controller, 65536):
            drawn += piece
    except OSError:  # the terminal's end, on Linux
        pass
    os.close(controller)
    assert process.wait(60) == 0
    assert b"\x1b[" in drawn


def test_bulk_upload_ends_cleanly_on_ctrl_c() -> None:
    """Ctrl-C ends with status 130 and a word, not with a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-u", str(EXAMPLES / "bulk_upload.py")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()  # it is at work
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors


def test_every_example_is_short() -> None:
    """An example is read in a minute: fewer than 60 lines."""
    shown = ["bulk_upload", "one_file", "form", "async_file", "put_with_progress", "inside_an_app", "private_ca"]
    for name in [*shown, "request_send"]:
        assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 60
