"""nginx, with what nginx.conf.template sets up."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .certificates import Certificates
from .contract import pattern
from .endpoint import Endpoint, endpoint, listening_socket
from .process import server_process
from .requirements import require

STATUSES = (200, 204, 304, 403, 404, 500, 503)
REDIRECTS = (301, 302, 303, 307, 308)
USERNAME, PASSWORD = "user", "secret"
STATIC_FILES = {"hello.txt": b"hello, world\n", "pattern.bin": pattern(300_000), "empty.bin": b""}

_TEMPLATE = Path(__file__).with_name("nginx.conf.template")


@dataclass(frozen=True)
class Nginx:
    """A running nginx."""

    plain: Endpoint
    tls: Endpoint
    expired: Endpoint
    """TLS with an expired certificate."""
    other_host: Endpoint
    """TLS with a certificate for another host."""
    unix_socket: Path
    """Serves what `plain` does."""
    data: Path
    """The folder of all that is served and stored: its dav/x is /dav/x, its static/x is /static/x."""

    def stored(self, path: str) -> Path:
        """The file that PUT /dav/{path} stores."""
        return self.data / "dav" / path


@contextmanager
def nginx_server(certificates: Certificates) -> Iterator[Nginx]:
    """A running nginx with a folder of its own. The test is skipped without nginx, or fails under CI."""
    program = require("nginx")
    with tempfile.TemporaryDirectory(prefix="nginx-") as folder, ExitStack() as stack:
        prefix = Path(folder)
        listeners = {
            name: stack.enter_context(listening_socket()) for name in ("plain", "tls", "expired", "other_host")
        }
        server = Nginx(
            **{
                name: endpoint("http" if name == "plain" else "https", listener) for name, listener in listeners.items()
            },
            unix_socket=prefix / "nginx.sock",
            data=prefix / "data",
        )
        _fill(prefix, server, certificates)
        with server_process(
            [program, "-p", str(prefix), "-c", "nginx.conf", "-e", "stderr"],
            listeners=list(listeners.values()),
            awaited=[server.plain, server.tls],
            # With this variable nginx hands its sockets to its successor when it is upgraded in place. It takes those
            # whose address stands in a `listen` of the configuration.
            environment={"NGINX": "".join(f"{listener.fileno()};" for listener in listeners.values())},
        ):
            yield server


def _fill(prefix: Path, server: Nginx, certificates: Certificates) -> None:
    (prefix / "temp").mkdir()
    (prefix / "nginx.conf").write_text(_configuration(server, certificates))
    (prefix / "htpasswd").write_text(f"{USERNAME}:{{PLAIN}}{PASSWORD}\n")
    for folder in ("dav", "private", "static"):
        (server.data / folder).mkdir(parents=True)
    for name, content in STATIC_FILES.items():
        (server.data / "static" / name).write_bytes(content)


def _configuration(server: Nginx, certificates: Certificates) -> str:
    return _TEMPLATE.read_text() % {
        # Started by root, nginx would work as a user who may not enter the folder; others cannot choose.
        "user": "user root root;" if os.geteuid() == 0 else "",
        "plain_port": server.plain.port,
        "tls_port": server.tls.port,
        "expired_port": server.expired.port,
        "other_host_port": server.other_host.port,
        "unix_socket": server.unix_socket,
        "server": certificates.server,
        "expired": certificates.expired,
        "other_host": certificates.other_host,
        "authority": certificates.authority,
        "redirects": "\n        ".join(
            f"location ~ ^/redirect{code}/(.*)$ {{ return {code} /dav/$1; }}" for code in REDIRECTS
        ),
        "statuses": "\n        ".join(f"location = /status/{code} {{ return {code}; }}" for code in STATUSES),
    }
