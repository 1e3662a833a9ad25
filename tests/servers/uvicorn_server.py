"""uvicorn with the echo contract, in a process for each port."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .certificates import Certificates
from .endpoint import EchoServer, Endpoint, endpoint, listening_socket
from .process import server_process


@contextmanager
def uvicorn_server(certificates: Certificates) -> Iterator[EchoServer]:
    """A running server. One process of uvicorn has one port, so the plain and the TLS port take two."""
    with ExitStack() as stack:
        yield EchoServer(
            plain=stack.enter_context(_one_port("http")),
            tls=stack.enter_context(_one_port("https", certificates.server)),
        )


@contextmanager
def _one_port(scheme: str, *pem: Path) -> Iterator[Endpoint]:
    with listening_socket() as listener:
        address = endpoint(scheme, listener)
        command = [sys.executable, "-m", "tests.servers.asgi_echo", str(listener.fileno()), *map(str, pem)]
        with server_process(command, listeners=[listener], awaited=[address]):
            yield address
