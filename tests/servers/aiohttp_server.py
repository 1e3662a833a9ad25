"""aiohttp's server with the echo contract."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .certificates import Certificates
from .endpoint import EchoServer, endpoint, listening_socket
from .process import server_process


@contextmanager
def aiohttp_server(certificates: Certificates) -> Iterator[EchoServer]:
    """A running server."""
    with listening_socket() as plain, listening_socket() as tls:
        server = EchoServer(endpoint("http", plain), endpoint("https", tls))
        arguments = [str(plain.fileno()), str(tls.fileno()), str(certificates.server)]
        command = [sys.executable, "-m", "tests.servers.aiohttp_echo", *arguments]
        with server_process(command, listeners=[plain, tls], awaited=[server.plain, server.tls]):
            yield server
