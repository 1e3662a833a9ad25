"""netrc: which credentials a file has for whom, and who gets them without having asked."""

import asyncio
import locale
import logging
import os
import random
import threading
import time
from base64 import b64decode
from pathlib import Path

import pytest

import aioreq
from aioreq import AuthenticationError, NetrcAuth, add_autoauth
from aioreq._message import PreparedRequest
from aioreq._netrc import Entry, Netrc
from aioreq._rules.conversation import Reading, Rules, conversation
from aioreq.testing import FaultServer, faults
from tests.talks import Talk, prepared, to

HOME = "https://example.org/"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "netrc"
    path.write_text("machine example.org login user password secret\nmachine other.example login x password y\n")
    return path


def read(file: Path) -> Netrc:
    netrc = Netrc(file)
    netrc.read()
    return netrc


def credentials(request: PreparedRequest) -> str | None:
    """What stands in a request's Basic credentials."""
    header = request.headers.get("Authorization")
    return None if header is None else b64decode(header.removeprefix("Basic ")).decode()


def sent(request: PreparedRequest, *script: object, netrc: Netrc, **rules: object) -> list[str | None]:
    """The credentials of each request of a conversation; the file is looked at before, as a session does."""
    if netrc.due:
        netrc.read()
    talk = Talk.of(request, script or [200], Rules(netrc=netrc, **rules))  # type: ignore[arg-type]
    return [credentials(request) for request in talk.sent]


class TestTheFile:
    def test_patience(self, file: Path, monkeypatch: pytest.MonkeyPatch):
        """A change is seen with the next look, and there is none before the patience is over."""
        now = 100.0
        monkeypatch.setattr("aioreq._netrc.monotonic", lambda: now)
        netrc = Netrc(file, patience=5)
        assert netrc.due
        netrc.read()
        file.write_text("machine example.org login user password changed")
        now += 4.9
        assert not netrc.due
        now += 0.2
        assert netrc.due

    def test_by_host(self, file: Path):
        """An entry is found by the host's name, in any case of letters that the file has it in."""
        file.write_text("machine Example.ORG login user password secret")
        assert read(file).find("example.org") == Entry("user", "secret")
        assert read(file).find("www.example.org") is None

    def test_the_default(self, file: Path):
        """The default entry is for all hosts without one of their own, unless only a named one is wanted."""
        file.write_text(file.read_text() + "default login anyone password anything\n")
        netrc = read(file)
        assert netrc.find("unknown.example") == Entry("anyone", "anything")
        assert netrc.find("unknown.example", by_name=True) is None
        assert netrc.find("example.org", by_name=True) == Entry("user", "secret")

    def test_an_account_instead_of_a_login(self, file: Path):
        """Where there is no login, the account is the user, as requests has it."""
        file.write_text("machine example.org account user password secret")
        assert read(file).find("example.org") == Entry("user", "secret")

    def test_it_is_due_when_it_has_changed(self, file: Path):
        """A file is read once, and again when it was written, replaced, removed or made readable for others."""
        netrc = Netrc(file)
        assert netrc.due
        netrc.read()
        assert not netrc.due
        file.write_text("machine example.org login user password changed-and-longer\n")
        assert netrc.due
        netrc.read()
        assert netrc.find("example.org") == Entry("user", "changed-and-longer")
        os.utime(file, ns=(1, 1))
        assert netrc.due
        netrc.read()
        file.unlink()
        assert not netrc.due
        with pytest.raises(AuthenticationError, match="there is no netrc file"):
            netrc.find("example.org")

    def test_the_users_own(self, file: Path, monkeypatch: pytest.MonkeyPatch):
        """Without a name it is ~/.netrc, or ~/_netrc; where neither is, nothing is known of anybody."""
        monkeypatch.setenv("HOME", str(file.parent))
        file.rename(file.parent / "_netrc")
        netrc = Netrc.of({})
        netrc.read()
        assert netrc.find("example.org") == Entry("user", "secret")
        (file.parent / "_netrc").unlink()
        assert not netrc.due
        assert netrc.find("example.org") is None

    @pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX'")
    def test_the_users_own_is_for_nobody_else(self, file: Path, monkeypatch: pytest.MonkeyPatch):
        """~/.netrc is not used while others may read it, and is when that is mended."""
        monkeypatch.setenv("HOME", str(file.parent))
        own = file.rename(file.parent / ".netrc")
        own.chmod(0o644)
        netrc = Netrc.of({})
        netrc.read()
        with pytest.raises(AuthenticationError, match="too permissive"):
            netrc.find("example.org")
        own.chmod(0o600)
        assert netrc.due
        netrc.read()
        assert netrc.find("example.org") == Entry("user", "secret")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"machine example.org login user password half secret", "bad follower token in line 1"),
            (b"secret", "bad toplevel token in line 1"),
            (b"macdef x\nsecret", "Macro definition missing null line terminator"),
            (b"\0", "the netrc file can't be read"),
        ],
    )
    def test_what_is_wrong_with_it(self, file: Path, content: bytes, message: str):
        """A file that can't be understood is told of by line; what stands there may be half a password, and is not."""
        file.write_bytes(content)
        netrc = read(file)
        with pytest.raises(AuthenticationError, match=message) as raised:
            netrc.find("example.org")
        assert "secret" not in str(raised.value)

    @pytest.mark.skipif(locale.getencoding().lower() != "utf-8", reason="latin-1 passes for text in other locales")
    def test_what_is_no_text(self, file: Path):
        """A file that is no text is told of, too."""
        file.write_bytes(b"machine \xff\xfe")
        with pytest.raises(AuthenticationError, match="the netrc file can't be read: .*codec can't decode"):
            read(file).find("example.org")

    def test_what_is_no_file(self, tmp_path: Path):
        """A directory, or nothing, where a file was named, is told of."""
        with pytest.raises(AuthenticationError, match="the netrc file can't be read: "):
            read(tmp_path).find("example.org")
        with pytest.raises(AuthenticationError, match="there is no netrc file at '.*missing'"):
            read(tmp_path / "missing").find("example.org")
        with pytest.raises(AuthenticationError, match="netrc file"):
            read(Path("a\0b")).find("example.org")


class TestWhoGetsThem:
    def test_whom_nobody_gave_any(self, file: Path):
        """A request without credentials gets those of its host, on any port."""
        assert sent(prepared("GET", HOME), netrc=Netrc(file)) == ["user:secret"]
        assert sent(prepared("GET", "http://example.org:8080/"), netrc=Netrc(file)) == ["user:secret"]
        assert sent(prepared("GET", "https://unknown.example/"), netrc=Netrc(file)) == [None]

    def test_whom_somebody_gave_some(self, file: Path):
        """Credentials of the call, of the URL, of autoauth, and a header of the caller's own come before it."""
        netrc = Netrc(file)
        assert sent(prepared("GET", HOME), netrc=netrc, auth=aioreq.BasicAuth("a", "b")) == ["a:b"]
        assert sent(prepared("GET", "https://c:d@example.org/"), netrc=netrc) == ["c:d"]
        talk = Talk.of(prepared("GET", HOME, headers={"Authorization": "Token x"}), [200], Rules(netrc=netrc))
        assert talk.last.headers["Authorization"] == "Token x"
        add_autoauth(HOME, ("e", "f"))
        try:
            assert sent(prepared("GET", HOME), netrc=netrc) == ["e:f"]
        finally:
            add_autoauth(HOME, None)

    def test_on_a_redirect(self, file: Path):
        """Each host of a redirect gets its own, looked up anew, or none; nobody gets another's."""
        script = [to("/next"), to("https://other.example/"), to("https://unknown.example/"), to(HOME), 200]
        found = sent(prepared("GET", HOME), *script, netrc=Netrc(file))
        assert found == ["user:secret", "user:secret", "x:y", None, "user:secret"]

    def test_the_default_on_a_redirect(self, file: Path):
        """The default entry is for the host that was called, and not for the one that this redirects to."""
        file.write_text("default login anyone password anything\n")
        found = sent(prepared("GET", HOME), to("https://other.example/"), 200, netrc=Netrc(file))
        assert found == ["anyone:anything", None]

    def test_none_in_the_clear_after_https(self, file: Path):
        """Where a redirect leads from https to http, nothing is put on."""
        request = prepared("GET", "https://unknown.example/")
        assert sent(request, to("http://other.example/"), 200, netrc=Netrc(file)) == [None, None]
        with pytest.raises(aioreq.RequestException, match="from https to http"):
            sent(prepared("GET", HOME), to("http://example.org/"), 200, netrc=Netrc(file))

    def test_reading_is_asked_for(self, file: Path):
        """The rules read no file: they ask for it, before the request that needs it."""
        talk = conversation(prepared("GET", HOME), Rules(auth=NetrcAuth(file)))
        step = next(talk)
        assert isinstance(step, Reading)
        assert step.file.due
        step.file.read()
        request = next(talk)
        assert isinstance(request, PreparedRequest)
        assert credentials(request) == "user:secret"
        talk.close()


class TestBadFiles:
    def test_one_that_nobody_asked_for(self, file: Path, caplog: pytest.LogCaptureFixture):
        """A bad file is left out, and told of in the log once for each state of it."""
        netrc = Netrc(file)
        file.write_text("machine example.org login user password half secret")
        with caplog.at_level(logging.WARNING, "aioreq"):
            assert sent(prepared("GET", HOME), netrc=netrc) == [None]
            assert sent(prepared("GET", HOME), netrc=netrc) == [None]
            assert len(caplog.records) == 1
            file.write_text("worse secret")
            assert sent(prepared("GET", HOME), netrc=netrc) == [None]
        first, second = caplog.messages
        assert first == f"{file} is not used: the netrc file can't be read: bad follower token in line 1"
        assert "bad toplevel token in line 1" in second
        assert "secret" not in caplog.text

    def test_an_entry_that_can_be_sent_by_nobody(self, file: Path, caplog: pytest.LogCaptureFixture):
        """A user that Basic authentication can't say is left out, too."""
        file.write_text("machine example.org login us:er password secret")
        assert sent(prepared("GET", HOME), netrc=Netrc(file)) == [None]
        assert "can't contain a colon" in caplog.text

    def test_one_that_was_asked_for(self, file: Path):
        """With NetrcAuth a bad file is an error."""
        file.write_text("nonsense")
        with pytest.raises(AuthenticationError, match="can't be read: bad toplevel token in line 1"):
            Talk.of(prepared("GET", HOME), [200], Rules(auth=NetrcAuth(file)))


class TestSessions:
    async def test_of_the_environment(self, file: Path, monkeypatch: pytest.MonkeyPatch):
        """A session uses the file of $NETRC by itself, unless it trusts no environment."""
        monkeypatch.setenv("NETRC", str(file))
        file.write_text("machine 127.0.0.1 login user password secret")
        with FaultServer(faults.ok()) as server:
            async with aioreq.Session() as trusting, aioreq.Session(trust_env=False) as careful:
                await trusting.get(server.url)
                await careful.get(server.url)
        assert [request.header("Authorization") for request in server.requests] == ["Basic dXNlcjpzZWNyZXQ=", None]

    async def test_it_is_read_in_a_thread_and_kept(self, file: Path, monkeypatch: pytest.MonkeyPatch):
        """The event loop reads no file: a thread does, and only when the file is new or has changed.

        A session looks for a change once a second; who asks for the file with NetrcAuth has it looked at each time.
        """
        threads: list[threading.Thread] = []
        plain_read = Netrc.read

        def noted(netrc: Netrc) -> None:
            threads.append(threading.current_thread())
            plain_read(netrc)

        monkeypatch.setattr(Netrc, "read", noted)
        monkeypatch.setenv("NETRC", str(file))
        file.write_text("machine 127.0.0.1 login user password secret")
        with FaultServer(faults.ok()) as server:
            async with aioreq.Session() as session:
                await session.get(server.url)
                await session.get(server.url)
                assert len(threads) == 1
                file.write_text("machine 127.0.0.1 login user password changed")
                auth = NetrcAuth(file)
                await session.get(server.url, auth=auth)
                monkeypatch.setattr("aioreq._netrc.monotonic", lambda: time.monotonic() + 1)
                await session.get(server.url)
        assert len(threads) == 3
        assert threading.main_thread() not in threads
        sent = [request.header("Authorization") for request in server.requests]
        assert sent[0] == sent[1] != sent[2] == sent[3]

    async def test_nobody_goes_without_it_while_it_is_read(self, file: Path, monkeypatch: pytest.MonkeyPatch):
        """Requests that are made while a thread still reads the file wait for it, as the first one does."""
        plain_read = Netrc.read
        both_ask = threading.Barrier(2)

        def read_together(netrc: Netrc) -> None:
            both_ask.wait(10)
            plain_read(netrc)

        monkeypatch.setattr(Netrc, "read", read_together)
        monkeypatch.setenv("NETRC", str(file))
        file.write_text("machine 127.0.0.1 login user password secret")
        with FaultServer(faults.ok()) as server:
            async with aioreq.Session() as session:
                await asyncio.gather(session.get(server.url), session.get(server.url))
        assert [request.header("Authorization") for request in server.requests] == ["Basic dXNlcjpzZWNyZXQ="] * 2

    async def test_no_thread_without_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """Who has no netrc file pays for none: nothing is read, and no thread is started."""
        monkeypatch.delenv("NETRC", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setattr(Netrc, "read", lambda _netrc: pytest.fail("there is nothing to read"))
        with FaultServer(faults.ok()) as server:
            async with aioreq.Session() as session:
                assert (await session.get(server.url)).ok

    async def test_a_missing_file(self, tmp_path: Path):
        """An error of NetrcAuth comes before anything is sent."""
        with FaultServer(faults.ok()) as server:
            async with aioreq.Session(auth=NetrcAuth(tmp_path / "missing")) as session:
                with pytest.raises(AuthenticationError, match="there is no netrc file"):
                    await session.get(server.url)
        assert server.requests == []

    async def test_the_list_of_suffixes_is_read_in_a_thread(self, monkeypatch: pytest.MonkeyPatch):
        """So is the list of public suffixes, when the first cookie with a Domain arrives; the answer waits for it."""
        from aioreq._rules import conversation as rules
        from aioreq._rules import jar
        from aioreq._rules.suffixes import PublicSuffixes

        threads: list[threading.Thread] = []

        class Noted(PublicSuffixes):
            def read(self) -> None:
                threads.append(threading.current_thread())
                super().read()

        noted = Noted()
        monkeypatch.setattr(rules, "SUFFIXES", noted)
        monkeypatch.setattr(jar, "SUFFIXES", noted)
        cookies = (("Set-Cookie", "a=1; Domain=127.0.0.1"), ("Set-Cookie", "b=2; Domain=0.0.1"))
        with FaultServer(faults.ok(headers=cookies)) as server:
            async with aioreq.Session() as session:
                first = await session.get(server.url)
                await session.get(server.url)
        assert dict(first.cookies) == dict(session.cookies) == {"a": "1"}
        assert len(threads) == 1
        assert threads[0] is not threading.main_thread()

    @pytest.mark.parametrize("status", [200, 302, 503])
    @pytest.mark.parametrize("size", [0, 64 * 1024 + 1, 1_000_000])
    async def test_the_answer_that_waits_is_whole(self, monkeypatch: pytest.MonkeyPatch, status: int, size: int):
        """Whatever becomes of an answer whose cookie waits for the list, nothing of it is lost, nor of the next one."""
        from aioreq._rules import conversation as rules
        from aioreq._rules.suffixes import PublicSuffixes

        monkeypatch.setattr(rules, "SUFFIXES", PublicSuffixes())
        headers = (("Set-Cookie", "a=1; Domain=127.0.0.1"), ("Location", "/next"), ("Retry-After", "0"))
        first = faults.ok(status, headers, random.Random(size).randbytes(size))
        with FaultServer({"/": faults.in_turn(first, faults.ok()), "/next": faults.ok()}) as server:
            async with aioreq.Session(retry=2) as session:
                async with session.stream("GET", server.url) as response:
                    content = await response.read()
                assert session.pool.open == session.pool.idle == 1
        assert dict(session.cookies) == {"a": "1"}
        if status == 200:
            assert content == random.Random(size).randbytes(size)
        else:
            assert response.json()["target"] == ("/next" if status == 302 else "/")
            assert [request.header("Cookie") for request in server.requests] == [None, "a=1"]
