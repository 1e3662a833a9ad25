"""Node's http server with the echo contract and forms read by busboy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .certificates import Certificates
from .endpoint import EchoServer, endpoint, listening_socket
from .process import server_process
from .requirements import require, require_node_module

_SCRIPT = Path(__file__).with_name("echo.mjs")


@contextmanager
def node_server(certificates: Certificates) -> Iterator[EchoServer]:
    """A running server. The test is skipped without Node or busboy, or fails under CI."""
    require_node_module("busboy")
    node = require("node")
    with listening_socket() as plain, listening_socket() as tls:
        server = EchoServer(endpoint("http", plain), endpoint("https", tls))
        command = [node, str(_SCRIPT), str(plain.fileno()), str(tls.fileno()), str(certificates.server)]
        with server_process(command, listeners=[plain, tls], awaited=[server.plain, server.tls]):
            yield server
