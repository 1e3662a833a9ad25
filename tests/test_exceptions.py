"""The tree of errors: its names, what else each of them is, what it carries."""

import builtins
import json
import pickle
import re
from typing import Any

import pytest

import aioreq
from aioreq import exceptions
from aioreq._net.stream import BrokenOff
from aioreq.bulk._digest import DigestMismatch
from aioreq.bulk._journal import JournalMismatch
from aioreq.exceptions import (
    FileChanged,
    FileForbidden,
    FileIsDirectory,
    FileMissing,
    FileUnreadable,
    JSONDecodeError,
    ProxyError,
    RequestException,
)
from aioreq.testing import FaultServer, faults
from tests.talks import answer, prepared

ERRORS = [getattr(exceptions, name) for name in exceptions.__all__]


class TestTheTree:
    @pytest.mark.parametrize("error", ERRORS)
    def test_everything_is_a_request_exception(self, error: type[Exception]):
        """One except clause catches all that aioreq raises on its own account."""
        assert issubclass(error, RequestException)

    @pytest.mark.parametrize(
        ("error", "parents"),
        [
            ("AuthenticationError", []),
            ("URLRequired", [ValueError]),
            ("InvalidURL", [ValueError]),
            ("InvalidMethod", [ValueError]),
            ("InvalidHeader", [ValueError]),
            ("HTTPError", []),
            ("TooManyRedirects", []),
            ("Timeout", [TimeoutError]),
            ("ConnectTimeout", [TimeoutError, OSError, exceptions.ConnectionError, exceptions.Timeout]),
            ("ReadTimeout", [TimeoutError, exceptions.Timeout]),
            ("WriteTimeout", [TimeoutError, exceptions.Timeout]),
            ("PoolTimeout", [TimeoutError, exceptions.Timeout]),
            ("ConnectionError", [OSError]),
            ("SSLError", [OSError, exceptions.ConnectionError]),
            ("ProxyError", [OSError, exceptions.ConnectionError]),
            ("RemoteProtocolError", [OSError, exceptions.ConnectionError]),
            ("ServerDisconnected", [exceptions.RemoteProtocolError]),
            ("ChunkedEncodingError", [exceptions.RemoteProtocolError]),
            ("ContentDecodingError", []),
            ("JSONDecodeError", [ValueError, json.JSONDecodeError]),
            ("StreamConsumedError", [TypeError]),
            ("ResponseNotRead", [RuntimeError]),
            ("InvalidBody", [TypeError, ValueError]),
            ("UnrewindableBodyError", []),
            ("BodyLengthError", [ValueError]),
            ("FileChanged", [ValueError, exceptions.BodyLengthError]),
            ("FileUnreadable", [OSError, ValueError]),
            ("FileMissing", [FileNotFoundError, FileUnreadable]),
            ("FileForbidden", [PermissionError, FileUnreadable]),
            ("FileIsDirectory", [IsADirectoryError, FileUnreadable]),
            ("ExtraRequired", [ImportError]),
            ("SessionClosed", [RuntimeError]),
        ],
    )
    def test_what_else_an_error_is(self, error: str, parents: list[type[Exception]]):
        """Bad input is a ValueError, a timeout a TimeoutError, a broken connection an OSError, as callers expect."""
        kind = getattr(exceptions, error)
        assert [parent for parent in parents if not issubclass(kind, parent)] == []

    def test_the_drawing_is_whole(self):
        """Every error has its line in the tree that stands at the top of the module."""
        drawn = set(re.findall(r"[A-Z]\w*[a-z]\w*", exceptions.__doc__ or ""))
        assert set(exceptions.__all__) - drawn == set()

    @pytest.mark.parametrize("name", exceptions.__all__)
    def test_each_is_at_the_top_level(self, name: str):
        """All are at the top level, but for Timeout, where the value stands that sets limits."""
        if name == "Timeout":
            assert aioreq.Timeout is not exceptions.Timeout
        else:
            assert getattr(aioreq, name) is getattr(exceptions, name)

    @pytest.mark.parametrize("error", ERRORS)
    def test_each_says_what_it_means(self, error: type[Exception]):
        """An error has a docstring of its own."""
        assert error.__doc__
        assert all(error.__doc__ != parent.__doc__ for parent in error.__mro__[1:])

    def test_builtin_names_are_shadowed_in_their_module_alone(self):
        """aioreq.ConnectionError is no builtin ConnectionError, as in requests, and both are OSErrors."""
        assert not issubclass(exceptions.ConnectionError, builtins.ConnectionError)
        assert issubclass(exceptions.ConnectionError, OSError)


class TestWhatTheyCarry:
    @pytest.mark.parametrize("error", [kind for kind in ERRORS if kind is not JSONDecodeError])
    def test_request_response_and_sent(self, error: type[RequestException]):
        """Each carries the request, the response where there is one, and how much of the body had left."""
        plain = error("what happened")
        assert (str(plain), plain.request, plain.response, plain.sent) == ("what happened", None, None, None)
        request: Any = object()
        response: Any = object()
        full = error("what happened", request=request, response=response, sent=7)
        assert str(full) == "what happened"
        assert (full.request, full.response, full.sent) == (request, response, 7)

    def test_json(self):
        """JSONDecodeError has json's own attributes too."""
        response: Any = object()
        error = JSONDecodeError("no", "{x", 1, response=response)
        assert (error.msg, error.doc, error.pos, error.lineno, error.colno) == ("no", "{x", 1, 1, 2)
        assert (error.request, error.response, error.sent) == (None, response, None)

    def test_a_file_that_changed(self):
        """FileChanged has the path, and what was declared and seen."""
        error = FileChanged("shorter", path="/x", declared=10, seen=7)
        assert (error.path, error.declared, error.seen) == ("/x", 10, 7)

    def test_a_proxy(self):
        """ProxyError has the status that an HTTP proxy refused with."""
        assert ProxyError("no").status_code is None
        assert ProxyError("no", status_code=407).status_code == 407

    @pytest.mark.parametrize(
        ("cause", "kind"),
        [
            (FileNotFoundError(2, "No such file or directory"), FileMissing),
            (NotADirectoryError(20, "Not a directory"), FileMissing),
            (PermissionError(13, "Permission denied"), FileForbidden),
            (IsADirectoryError(21, "Is a directory"), FileIsDirectory),
            (OSError(5, "Input/output error"), FileUnreadable),
            (OSError("only words"), FileUnreadable),
        ],
    )
    def test_what_the_system_said_of_a_file(self, cause: OSError, kind: type[FileUnreadable]):
        """A file's error has the system's number and words, and its name."""
        error = FileUnreadable.from_oserror(cause, "/x")
        assert type(error) is kind
        assert (error.errno, error.filename) == (cause.errno, "/x")
        assert str(error) == f"can't read '/x': {cause.strerror or cause}"

    @pytest.mark.parametrize("error", ERRORS)
    def test_they_can_be_pickled(self, error: type[RequestException]):
        """An error may cross to another process, with its class and its words."""
        copy = pickle.loads(pickle.dumps(error("what happened")))
        assert type(copy) is error
        assert str(copy) == str(error("what happened"))

    def test_they_can_be_pickled_with_what_they_carry(self):
        """So may what it says of itself."""
        error = FileChanged("shorter", path="/x", declared=10, seen=7, sent=3)
        copy = pickle.loads(pickle.dumps(error))
        assert (copy.path, copy.declared, copy.seen, copy.sent) == ("/x", 10, 7, 3)
        missing = FileUnreadable.from_oserror(FileNotFoundError(2, "No such file"), "/x")
        copy = pickle.loads(pickle.dumps(missing))
        assert (type(copy), copy.errno, copy.filename, str(copy)) == (FileMissing, 2, "/x", str(missing))

    @pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
    @pytest.mark.parametrize("error", [*ERRORS, DigestMismatch, JournalMismatch, BrokenOff])
    def test_they_can_be_pickled_with_a_request(self, error: type[RequestException], protocol: int):
        """So may the request and the response, whatever the body: what can't go along is left behind."""
        request = prepared("PUT", data=iter([b"body"]), headers={"Content-Length": "4"})
        full = error("what happened")
        full.request, full.response, full.sent = request, answer(request, 413, [("A", "b")], b"too large"), 3
        full.extra = "set by somebody"  # type: ignore[attr-defined]
        full.add_note("a note")
        copy = pickle.loads(pickle.dumps(full, protocol))
        assert (type(copy), str(copy), copy.sent) == (error, str(full), 3)
        assert (copy.extra, copy.__notes__) == ("set by somebody", ["a note"])
        assert (copy.request.method, copy.request.url, copy.request.body) == ("PUT", "http://example.org/", None)
        assert copy.request.headers == request.headers
        assert (copy.response.status_code, copy.response.content) == (413, b"too large")
        assert copy.response.request is copy.request
        assert {name for name in vars(full) if name not in vars(copy)} == set()

    async def test_as_they_are_raised(self):
        """An error of a real upload goes to another process with all it knows; so do those of a refused answer."""
        with FaultServer(faults.early_answer(413, then="close")) as server:
            async with aioreq.Session() as session:
                response = await session.put(server.url, data=iter([b"x"]), headers={"Content-Length": "1"})
                with pytest.raises(exceptions.HTTPError) as refused:
                    response.raise_for_status()
            refused_copy = pickle.loads(pickle.dumps(refused.value))
        async with aioreq.Session() as session:
            with pytest.raises(exceptions.ConnectionError) as gone:
                await session.put(server.url, data=iter([b"x"]), headers={"Content-Length": "1"})
        gone_copy = pickle.loads(pickle.dumps(gone.value))
        assert refused_copy.response.status_code == 413
        assert refused_copy.response.upload.total == 1
        assert (type(gone_copy), str(gone_copy)) == (type(gone.value), str(gone.value))
        assert gone_copy.request.url == f"{server.url}/"
