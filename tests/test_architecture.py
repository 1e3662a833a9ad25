"""The house: which room may know which, who opens sockets, and what the front door shows."""

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import aioreq
import aioreq.multipart

PACKAGE = Path(aioreq.__file__).parent

# The rooms from the ground up: each may import what stands before it, and itself.
ROOMS = [
    "exceptions", "_version", "_value", "_timeout", "_threads", "_headers", "_page_cache", "_files", "_netrc", "_wire",
    "_body", "_source", "_progress", "_url", "multipart", "_message", "_events", "_rules", "_net", "_session", "_api",
    "bulk", "__init__", "_cli", "__main__", "testing", "opentelemetry",
]  # fmt: skip
STRANGERS = [("_wire", "_rules"), ("_rules", "_wire")]
WITHOUT_SOCKETS = ("_wire", "_rules", "_message", "_url", "_headers", "exceptions", "multipart", "_events", "_netrc")
NETWORK_MODULES = {
    "socket", "select", "selectors", "socketserver", "asyncio", "anyio", "trio", "http", "urllib.request",
}  # fmt: skip
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "types", "compat", "manager", "misc", "common"}
# Calls of the event loop that make a connection or use a bare socket.
SOCKET_CALLS = {
    "open_connection", "open_unix_connection", "start_server", "start_unix_server", "create_connection",
    "create_unix_connection", "create_server", "create_unix_server", "create_datagram_endpoint",
    "connect_accepted_socket", "sock_connect", "sock_recv", "sock_recv_into", "sock_sendall", "sock_accept",
    "sock_sendfile", "sendfile", "socketpair",
}  # fmt: skip


def module_of(path: Path) -> str:
    """The dotted name of a module, from its place."""
    return ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


TREES = {module_of(path): ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
PACKAGES = {module_of(path) for path in PACKAGE.rglob("__init__.py")}


def room_of(module: str) -> str:
    """The room that a module of the house stands in."""
    _, _, inside = module.partition(".")
    return inside.partition(".")[0] or "__init__"


def modules_in(room: str) -> list[str]:
    return [module for module in TREES if room_of(module) == room]


def imports_of(module: str) -> Iterator[str]:
    """What a module imports, wherever the statement stands: in a function and under TYPE_CHECKING too."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = origin_of(node, module)
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                yield inner if inner in TREES else origin


def origin_of(node: ast.ImportFrom, module: str) -> str:
    """The absolute name of what stands between ``from`` and ``import``."""
    if not node.level:
        assert node.module is not None
        return node.module
    up = node.level - (module in PACKAGES)
    parts = module.split(".")
    return ".".join((*parts[: len(parts) - up], *((node.module,) if node.module else ())))


def at_home(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE.name


EDGES = {(module, target) for module in TREES for target in imports_of(module)}
INNER_EDGES = {(module, target) for module, target in EDGES if at_home(target)}


class TestTheReader:
    """The reader of imports sees what it must see, else the rest of this page proves nothing."""

    @pytest.mark.parametrize(
        ("module", "target"),
        [
            ("aioreq._session", "aioreq._threads"),  # from . import _threads
            ("aioreq._rules.prepare", "aioreq.multipart._encode"),  # from ..multipart._encode import
            ("aioreq", "aioreq._net.pool"),  # in an __init__
            ("aioreq.testing._server", "aioreq.testing.faults"),  # under TYPE_CHECKING
            ("aioreq._netrc", "netrc"),  # in a function
            ("aioreq.testing._transports", "aioreq._message"),  # by its absolute name
        ],
    )
    def test_each_kind_of_import(self, module: str, target: str):
        """Relative, absolute, lazy and type-only imports are found."""
        assert (module, target) in EDGES


class TestRooms:
    """Imports run downward."""

    @pytest.mark.parametrize("module", TREES)
    def test_each_module_has_a_room(self, module: str):
        """Every module stands in a room of the list; a new one is given its place there."""
        assert room_of(module) in ROOMS

    @pytest.mark.parametrize("room", ROOMS)
    def test_imports_run_downward(self, room: str):
        """A room imports only what stands below it, lazy and type-only imports included."""
        above = ROOMS[ROOMS.index(room) + 1 :]
        upward = [
            f"{module} imports {target}"
            for module, target in INNER_EDGES
            if room_of(module) == room and room_of(target) in above
        ]
        assert upward == []

    def test_no_circles(self):
        """No two modules of a room import each other, not even by way of others."""
        graph: dict[str, set[str]] = {}
        for module, target in INNER_EDGES:
            graph.setdefault(module, set()).add(target)
        TopologicalSorter(graph).prepare()  # raises CycleError with the circle

    @pytest.mark.parametrize(("room", "stranger"), STRANGERS)
    def test_strangers(self, room: str, stranger: str):
        """How to say it and what to say next do not know each other."""
        assert modules_in(room)
        assert [edge for edge in INNER_EDGES if room_of(edge[0]) == room and room_of(edge[1]) == stranger] == []

    def test_the_core_knows_nothing_of_its_tests(self):
        """Only aioreq.testing imports aioreq.testing."""
        assert {room_of(module) for module, target in INNER_EDGES if room_of(target) == "testing"} == {"testing"}

    @pytest.mark.parametrize("module", TREES)
    def test_names_say_something(self, module: str):
        """No module is called after nothing: utils, helpers, types, compat, manager."""
        assert not {part.strip("_") for part in module.split(".")} & VAGUE_NAMES


class TestSockets:
    """Every socket is in a room with no decisions, and every decision in a room with no sockets."""

    @pytest.mark.parametrize("room", WITHOUT_SOCKETS)
    def test_rooms_without_sockets(self, room: str):
        """What is said, and what is said next, is decided without a socket and without a loop."""
        found = {
            (module, target)
            for module, target in EDGES
            if room_of(module) == room and (target in NETWORK_MODULES or target.partition(".")[0] in NETWORK_MODULES)
        }
        assert modules_in(room)
        assert found == set()

    def test_who_imports_sockets(self):
        """Outside of the network's room and the fault server, nothing imports a module of sockets."""
        rooms = {room_of(module) for module, target in EDGES if target in NETWORK_MODULES - {"asyncio"}}
        assert rooms == {"_net", "testing"}

    def test_who_makes_connections(self):
        """Outside of the network's room and the fault server, nothing asks the loop for a connection."""
        rooms = {
            room_of(module)
            for module, tree in TREES.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr in SOCKET_CALLS
        }
        assert rooms == {"_net", "testing"}


def loaded_by(statements: str) -> set[str]:
    """The modules that a new interpreter has loaded after some statements, and had not before."""
    script = (
        "import sys; before = set(sys.modules)\n"
        f"{statements}\n"
        "loaded = sorted(set(sys.modules) - before); import json; print(json.dumps(loaded))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(ran.stdout))


class TestTheImport:
    """`import aioreq` stays light."""

    def test_what_it_loads(self):
        """Beside the standard library it loads header maps: nothing optional, nothing slow."""
        loaded = loaded_by("import aioreq")
        foreign = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
        by_cython = {name for name in foreign if name.startswith(("_cython", "cython"))}  # part of every such module
        assert foreign - by_cython == {"aioreq", "multidict"}

    def test_what_it_leaves_for_later(self):
        """Of the standard library it loads little beside what asyncio, ssl and header maps load themselves."""
        own = loaded_by("import aioreq") - loaded_by("import asyncio, ssl, multidict")
        assert {name for name in own if name.partition(".")[0] in sys.stdlib_module_names} <= {
            "__future__", "_json", "json", "json.decoder", "json.encoder", "json.scanner",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("statement", "module"),
        [
            ("aioreq.Session(base_url='http://example.org')", "yarl"),
            ("from aioreq._wire.http1 import _Chunked; _Chunked()", "httptools"),
            ("aioreq.MultipartParam('file', 'text', filename='a.txt').encode_hdr(b'x')", "mimetypes"),
            ("aioreq.bulk_upload", "dataclasses"),
        ],
    )
    def test_what_comes_when_it_is_needed(self, statement: str, module: str):
        """What the import left is loaded by what needs it, so that the lists above are of modules that matter."""
        assert module not in loaded_by("import aioreq")
        assert module in loaded_by(f"import aioreq; {statement}")

    def test_it_is_typed(self):
        """The package tells type checkers that it is typed (PEP 561)."""
        assert (PACKAGE / "py.typed").is_file()


VERBS = ("get", "head", "post", "put", "patch", "delete", "options", "request", "stream")
PUBLIC_NAMES = [
    *VERBS, "Session", "Request", "Response", "AuthObject", "BasicAuth", "DigestAuth", "BearerAuth", "NetrcAuth",
    "add_autoauth", "Timeout", "Limits", "Retry", "UploadProgress", "multipart_encode", "MultipartParam",
    "bulk", "bulk_upload",
]  # fmt: skip
ERRORS = [
    "RequestException", "AuthenticationError", "URLRequired", "InvalidMethod", "HTTPError", "ConnectionError",
    "ConnectTimeout", "ReadTimeout", "Timeout", "SSLError", "ProxyError", "InvalidURL", "InvalidHeader",
    "TooManyRedirects", "ChunkedEncodingError", "ContentDecodingError", "StreamConsumedError",
    "UnrewindableBodyError", "JSONDecodeError", "WriteTimeout", "PoolTimeout", "RemoteProtocolError",
    "BodyLengthError", "FileChanged",
]  # fmt: skip
POSTER = [
    "gen_boundary", "encode_and_quote", "MultipartParam", "encode_string", "encode_file_header", "get_body_size",
    "get_headers", "multipart_encode",
]  # fmt: skip


class TestPublicNames:
    """What users hold on to."""

    @pytest.mark.parametrize("name", PUBLIC_NAMES)
    def test_the_front_door(self, name: str):
        """Each is at the top level, named in __all__, and has a docstring."""
        assert name in aioreq.__all__
        assert inspect.getdoc(getattr(aioreq, name))

    @pytest.mark.parametrize("name", ERRORS)
    def test_errors(self, name: str):
        """Each error is in aioreq.exceptions, and at the top level unless a value has its name."""
        error = getattr(aioreq.exceptions, name)
        assert issubclass(error, aioreq.RequestException)
        assert name == "Timeout" or getattr(aioreq, name) is error

    @pytest.mark.parametrize("name", POSTER)
    def test_poster(self, name: str):
        """poster's eight names are in aioreq.multipart."""
        assert name in aioreq.multipart.__all__
        assert callable(getattr(aioreq.multipart, name))

    def test_basic_auth_has_two_names(self):
        """AuthObject, as in 0.2.1, and BasicAuth are one class."""
        assert aioreq.AuthObject is aioreq.BasicAuth

    @pytest.mark.parametrize(
        ("owner", "names"),
        [
            (aioreq.Session, (*VERBS, "send", "aclose", "headers", "__aenter__", "__aexit__")),
            (aioreq.Request, ("method", "send")),
            (
                aioreq.Response,
                (
                    "url", "content", "text", "json", "encoding", "ok", "raise_for_status", "elapsed", "links", "read",
                    "iter_content", "iter_lines", "aclose",
                ),
            ),
        ],
    )  # fmt: skip
    def test_methods(self, owner: type, names: tuple[str, ...]):
        """Sessions, requests and responses can do what the design says."""
        assert [name for name in names if not hasattr(owner, name)] == []

    @pytest.mark.parametrize(
        ("call", "arguments"),
        [
            (
                aioreq.Session,
                {
                    "headers", "params", "cookies", "auth", "timeout", "retry", "base_url", "max_redirects", "verify",
                    "cert", "proxy", "trust_env", "limits", "unix_socket", "event_hooks",
                },
            ),
            (
                aioreq.Request,
                {"method", "url", "headers", "params", "data", "json", "files", "auth", "cookies"},
            ),
            (
                aioreq.Session.send,
                {"timeout", "allow_redirects", "progress", "expect_continue", "retry"},
            ),
            (aioreq.Timeout, {"connect", "read", "write", "pool", "total"}),
            (aioreq.Request.send, {"anyway"}),
        ],
    )  # fmt: skip
    def test_arguments(self, call: object, arguments: set[str]):
        """They take the arguments that the design names."""
        assert callable(call)
        assert arguments <= set(inspect.signature(call).parameters)

    @pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "request"])
    def test_verbs_are_alike(self, verb: str):
        """A module's verb takes what the session's takes, in the same order."""
        _, *of_session = inspect.signature(getattr(aioreq.Session, verb)).parameters
        assert list(inspect.signature(getattr(aioreq, verb)).parameters) == of_session
