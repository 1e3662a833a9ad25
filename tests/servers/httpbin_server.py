"""httpbin, the server that HTTP clients have been tried against for a decade, under gunicorn."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .endpoint import Endpoint, endpoint, listening_socket
from .process import server_process


@contextmanager
def httpbin_server() -> Iterator[Endpoint]:
    """A running server; a slow answer of one thread holds up no other."""
    with listening_socket() as plain:
        server = endpoint("http", plain)
        command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{plain.fileno()}", "--log-level", "warning"]
        # A worker of threads keeps connections alive, which gunicorn's default one does not.
        command += ["--worker-class", "gthread", "--threads", "8", "--keep-alive", "60", "--graceful-timeout", "1"]
        with server_process([*command, "httpbin:app"], listeners=[plain], awaited=[server]):
            yield server
