"""The module's own verbs: one session for each loop, which begins and ends by itself."""

import asyncio
import gc
import inspect
import signal
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq._api import shared_session
from aioreq.testing import FaultServer, faults
from tests.servers.certificates import Certificates
from tests.servers.endpoint import EchoServer
from tests.servers.nginx import Nginx

VERBS = ["get", "head", "post", "put", "patch", "delete", "options"]


class TestVerbs:
    """What they send."""

    @pytest.mark.parametrize("verb", VERBS)
    async def test_each(self, verb: str, uvicorn_echo: EchoServer):
        """Each verb sends its method."""
        response = await getattr(aioreq, verb)(uvicorn_echo.plain.url("/echo"))
        assert response.status_code == 200
        assert response.request.method == verb.upper()
        if verb != "head":
            assert response.json()["method"] == verb.upper()

    async def test_by_name(self, uvicorn_echo: EchoServer):
        """request() sends any method."""
        response = await aioreq.request("patch", uvicorn_echo.plain.url("/echo"), json=[1])
        assert (response.json()["method"], response.json()["body_latin1"]) == ("PATCH", "[1]")

    @pytest.mark.parametrize("verb", ["get", "head", "delete", "options"])
    def test_arguments_without_a_body(self, verb: str):
        """Verbs without a body take (url, params, headers, auth), by position too, and options."""
        names = list(inspect.signature(getattr(aioreq, verb)).parameters)
        assert names[:4] == ["url", "params", "headers", "auth"]

    @pytest.mark.parametrize("verb", ["post", "put", "patch"])
    async def test_arguments_with_a_body(self, verb: str, uvicorn_echo: EchoServer):
        """Verbs with a body take (url, data, headers, files, auth), by position too, and options."""
        names = list(inspect.signature(getattr(aioreq, verb)).parameters)
        assert names[:5] == ["url", "data", "headers", "files", "auth"]
        call = getattr(aioreq, verb)
        response = await call(uvicorn_echo.plain.url("/echo"), b"body", {"X-A": "1"}, None, ("user", "password"))
        told = response.json()
        assert told["body_latin1"] == "body"
        assert {"x-a", "authorization"} <= dict(told["headers"]).keys()

    async def test_options(self, uvicorn_echo: EchoServer):
        """Options of a call: params, cookies, json, timeout, allow_redirects, retry, progress, expect_continue."""
        seen: list[aioreq.UploadProgress] = []
        response = await aioreq.post(
            uvicorn_echo.plain.url("/redirect/307?to=/echo"),
            json={"a": 1},
            cookies={"c": "1"},
            timeout=5,
            allow_redirects=False,
            retry=2,
            progress=seen.append,
            expect_continue=True,
            params={"b": 2},
        )
        assert response.status_code == 307
        assert response.request.headers["Cookie"] == "c=1"
        assert response.request.headers["Expect"] == "100-continue"
        assert response.url.endswith("to=/echo&b=2")
        assert seen[-1].sent == seen[-1].total == 8

    async def test_stream(self, nginx: Nginx):
        """stream() gives the answer before its body."""
        async with aioreq.stream("GET", nginx.plain.url("/static/pattern.bin")) as response:
            assert sum([len(piece) async for piece in response.iter_content(1000)]) == 300_000


class TestNames:
    """What `import aioreq` gives."""

    def test_all_of_them(self):
        """Every name of __all__ is there, and every exception of aioreq.exceptions but the shadowed Timeout."""
        for name in aioreq.__all__:
            assert getattr(aioreq, name) is not None
        for name in aioreq.exceptions.__all__:
            if name != "Timeout":
                assert getattr(aioreq, name) is getattr(aioreq.exceptions, name)
        assert aioreq.AuthObject is aioreq.BasicAuth

    def test_the_import_is_light(self):
        """Importing it brings in no optional package, and nothing that takes its time and may never be needed."""
        unwanted = [
            "aiohttp", "anyio", "brotli", "charset_normalizer", "h11", "h2", "http.cookiejar", "httpx", "netrc",
            "pytest", "python_socks", "requests", "rich", "sqlite3", "starlette", "truststore", "uvicorn", "uvloop",
            "zstandard",
        ]  # fmt: skip
        script = f"import sys, aioreq; print([name for name in {unwanted!r} if name in sys.modules])"
        ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert ran.stdout == "[]\n"


@pytest.fixture
def connection(nginx: Nginx) -> Any:
    """A coroutine function that asks nginx for the number of the connection."""

    async def ask() -> str:
        return (await aioreq.get(nginx.plain.url("/connection"))).text.split()[0]

    return ask


class TestTheSharedSession:
    """One session for each loop."""

    def test_calls_share_connections(self, connection: Any):
        """Calls in one loop share connections; another loop has its own."""

        async def three_calls() -> set[str]:
            return {await connection() for _ in range(3)}

        first, second = asyncio.run(three_calls()), asyncio.run(three_calls())
        assert len(first) == len(second) == 1
        assert first != second

    def test_it_closes_with_its_loop(self, connection: Any):
        """The session is closed when its loop ends, its connections with it."""

        async def call() -> aioreq.Session:
            await connection()
            return await shared_session()

        session = asyncio.run(call())
        assert session.closed
        assert session.pool.open == 0

    def test_a_loop_is_not_kept(self):
        """When a loop has ended, nothing of it is left: a program may run any number of them."""

        async def call() -> weakref.ref[asyncio.AbstractEventLoop]:
            assert (await aioreq.get(server.url)).ok
            return weakref.ref(asyncio.get_running_loop())

        with FaultServer(faults.ok()) as server:
            loops = [asyncio.run(call()) for _ in range(3)]
        gc.collect()
        assert [loop() for loop in loops] == [None] * 3

    def test_loops_that_alternate(self, connection: Any):
        """Two loops that take turns have a session each, all the time."""
        with asyncio.Runner() as one, asyncio.Runner() as other:
            numbers = [(one.run(connection()), other.run(connection())) for _ in range(3)]
        assert len(set(numbers)) == 1
        assert numbers[0][0] != numbers[0][1]

    def test_loops_in_threads(self, connection: Any):
        """Loops in several threads at once don't get in each other's way."""
        numbers: list[str] = []

        async def calls() -> None:
            numbers.extend([await connection() for _ in range(10)])

        threads = [threading.Thread(target=asyncio.run, args=(calls(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(numbers), len(set(numbers))) == (40, 4)

    async def test_calls_at_once(self, connection: Any):
        """Calls that begin at once, the loop's first ones among them, share one session."""
        await asyncio.gather(*(connection() for _ in range(10)))
        session = await shared_session()
        assert 1 <= session.pool.open <= 10

    async def test_closed_by_hand(self, connection: Any):
        """A shared session that somebody has closed is replaced."""
        await connection()
        await (await shared_session()).aclose()
        assert await connection()

    async def test_cookies_stay_with_their_loop(self):
        """The shared session keeps cookies between calls, as a session does; another loop's has none of them."""
        with FaultServer(faults.ok(headers=(("Set-Cookie", "a=1"),))) as server:
            await aioreq.get(server.url)
            await aioreq.get(server.url)
            assert [request.header("cookie") for request in server.requests] == [None, "a=1"]
            await asyncio.to_thread(asyncio.run, _get(server.url))
            assert server.requests[-1].header("cookie") is None

    def test_the_threads_end(self, connection: Any, tmp_path: Path, nginx: Nginx):
        """No worker thread outlives the last session."""
        (tmp_path / "file").write_bytes(bytes(1_000_000))

        async def upload() -> None:
            response = await aioreq.put(nginx.plain.url(f"/dav/{tmp_path.name}"), data=tmp_path / "file")
            assert response.status_code == 201

        asyncio.run(upload())
        for thread in threading.enumerate():
            if thread.name.startswith("aioreq"):
                thread.join(10)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("aioreq")]


async def _get(url: str) -> None:
    await aioreq.get(url)


# Whole programs, with every warning an error --------------------------------------------------------------


def program(body: str) -> str:
    """A program around the body of its main coroutine."""
    return (
        "import asyncio, pathlib, sys\nimport aioreq\n\n"
        "url, folder = sys.argv[1], pathlib.Path(sys.argv[2])\n\n"
        "async def blocks(count):\n    for _ in range(count):\n        yield bytes(65536)\n\n"
        "async def main():\n"
        # In debug mode asyncio tells of what took 0.1 s, as anything may on a busy machine.
        "    asyncio.get_running_loop().slow_callback_duration = 60\n"
        + textwrap.indent(textwrap.dedent(body), "    ")
        + "\n\n"
        "try:\n    asyncio.run(main())\nexcept KeyboardInterrupt:\n    print('interrupted')\n"
    )


def start(body: str, url: str, folder: Path, certificates: Certificates) -> "subprocess.Popen[str]":
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program(body), url, str(folder)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"SSL_CERT_FILE": str(certificates.authority), "PATH": ""},
        process_group=0,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    """What a program printed, which has complained of nothing and left nothing open."""
    try:
        printed, complained = process.communicate(timeout=30)
    finally:
        process.kill()
    assert complained == ""
    assert process.returncode == 0
    return printed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file that no kernel's buffers hold."""
    (tmp_path / "large").write_bytes(bytes(20_000_000))
    return tmp_path


UPLOADS = {
    "bytes": "data=bytes(20_000_000)",
    "file": "data=folder / 'large'",
    "form": "files={'a': folder / 'large', 'b': b'x'}",
    "generator": "data=blocks(300), headers={'Content-Length': str(300 * 65536)}",
}


@pytest.fixture(params=["plain", "tls"])
def server_context(request: pytest.FixtureRequest, certificates: Certificates) -> Any:
    return certificates.server_context() if request.param == "tls" else None


class TestWholePrograms:
    """Programs under `asyncio.run` that end in different ways, with `-X dev -W error`: not a word on stderr."""

    def test_a_few_calls(self, certificates: Certificates, folder: Path, server_context: Any):
        """Calls of every kind, and then the end, with connections idle and answers unread."""
        body = """
            await aioreq.get(url)
            await aioreq.post(url, data={"a": 1})
            await aioreq.post(url, files={"a": folder / "large"})
            await asyncio.gather(*(aioreq.put(url, data=folder / "large") for _ in range(3)))
            await aioreq.put(url, data=blocks(3), headers={"Content-Length": str(3 * 65536)})
            async with aioreq.stream("GET", url) as response:
                pass
            print("done")
        """
        with FaultServer(tls=server_context) as server:
            assert finish(start(body, server.url, folder, certificates)) == "done\n"
            assert server.violations == []

    def test_a_server_that_closes_at_the_end(self, certificates: Certificates, folder: Path, server_context: Any):
        """A connection that the server closes in the program's last moment is closed on our side too."""
        body = """
            import select
            from aioreq._api import shared_session
            await aioreq.get(url)
            [connection] = (await shared_session()).pool._idle
            poll = select.poll()
            poll.register(connection.stream.fileno(), select.POLLIN)
            print("idle", flush=True)
            print(len(poll.poll()))  # the loop stands still meanwhile, and learns of it when it is about to end
        """
        with FaultServer(faults.close_idle("go"), tls=server_context) as server:
            process = start(body, server.url, folder, certificates)
            assert process.stdout is not None
            assert process.stdout.readline() == "idle\n"
            server.release("go")
            assert finish(process) == "1\n"

    def test_calls_left_alone(self, certificates: Certificates, folder: Path, server_context: Any):
        """Tasks that are still calling when the program ends are cancelled, and leave nothing behind."""
        body = """
            calls = [asyncio.create_task(aioreq.put(url, data=folder / "large")) for _ in range(3)]
            calls.append(asyncio.create_task(aioreq.get(url)))
            await aioreq.get(url + "/first")
            print("done")
        """
        routes = {"/": faults.silent(), "/first": faults.ok()}
        with FaultServer(routes, tls=server_context) as server:
            assert finish(start(body, server.url, folder, certificates)) == "done\n"

    @pytest.mark.parametrize("kind", UPLOADS)
    def test_a_failure_in_mid_upload(self, kind: str, certificates: Certificates, folder: Path, server_context: Any):
        """An upload that is reset half way is one error, which the program sees."""
        body = f"""
            try:
                await aioreq.post(url, {UPLOADS[kind]})
            except aioreq.ConnectionError as error:
                print(0 < error.sent < 20_000_000)
        """
        with FaultServer(faults.reset_after(100_000), tls=server_context) as server:
            assert finish(start(body, server.url, folder, certificates)) == "True\n"

    @pytest.mark.parametrize("kind", UPLOADS)
    def test_ctrl_c_in_mid_upload(self, kind: str, certificates: Certificates, folder: Path, server_context: Any):
        """Ctrl-C in mid-upload ends the program at once and cleanly."""
        body = f"await aioreq.post(url, {UPLOADS[kind]})"
        with FaultServer(faults.stall(after=100_000), tls=server_context) as server:
            process = start(body, server.url, folder, certificates)
            server.reached("stalled").wait()
            process.send_signal(signal.SIGINT)
            assert finish(process) == "interrupted\n"

    def test_an_error_of_the_programs_own(self, certificates: Certificates, folder: Path, server_context: Any):
        """A generator that raises ends its upload with its own error."""
        body = """
            async def broken():
                yield bytes(65536)
                raise LookupError("mine")
            try:
                await aioreq.post(url, data=broken(), headers={"Content-Length": "1000000"})
            except LookupError as error:
                print(error)
        """
        with FaultServer(tls=server_context) as server:
            assert finish(start(body, server.url, folder, certificates)) == "mine\n"


@pytest.fixture(autouse=True)
def no_servers_left() -> Iterator[None]:
    """No test here ends a server's thread late."""
    yield
    assert not [thread for thread in threading.enumerate() if thread.name == "fault-server"]
