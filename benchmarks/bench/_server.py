"""The sink (sink.c), compiled, started on a core of its own, and asked what it has received."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from environments import BENCHMARKS

_SOURCE = BENCHMARKS / "sink.c"
_COMPILE_LIMIT = 60  # seconds


class ServerMissing(Exception):
    """What is needed for the server is not there, in words for the table."""


def compile_sink(folder: Path) -> tuple[Path, bool]:
    """The program, made in this folder, and whether it can do TLS.

    Raises:
        ServerMissing: there is no C compiler, or it failed.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise ServerMissing("a C compiler (cc) is needed to build the server")
    program = folder / "sink"
    plain = [compiler, "-O2", "-o", str(program), str(_SOURCE)]
    for flags, tls in ((["-DWITH_TLS", "-lssl", "-lcrypto"], True), ([], False)):
        done = subprocess.run([*plain, *flags], capture_output=True, text=True, timeout=_COMPILE_LIMIT, check=False)
        if not done.returncode:
            return program, tls
    raise ServerMissing(f"cc failed: {done.stderr.strip()}")


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files: the authority's certificate, and the server's with its key."""

    authority: Path
    server: Path


def make_certificates(folder: Path) -> Certificates:
    """An authority, and a certificate from it for 127.0.0.1.

    Raises:
        ServerMissing: the program openssl is not there, or it failed.
    """
    made = Certificates(folder / "authority.pem", folder / "server.pem")
    key, its_key, request = folder / "authority.key", folder / "server.key", folder / "server.csr"
    new = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    extensions = folder / "server.ext"
    extensions.write_text("subjectAltName = IP:127.0.0.1, DNS:localhost\nextendedKeyUsage = serverAuth\n")
    _openssl(*new, "-x509", "-days", "30", "-subj", "/CN=aioreq benchmark", "-keyout", key, "-out", made.authority,
             "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    _openssl(*new, "-subj", "/CN=127.0.0.1", "-keyout", its_key, "-out", request)
    _openssl("x509", "-req", "-days", "30", "-in", request, "-CA", made.authority, "-CAkey", key, "-CAcreateserial",
             "-extfile", extensions, "-out", made.server)  # fmt: skip
    with made.server.open("a") as file:
        file.write(its_key.read_text())
    return made


def _openssl(*arguments: str | Path) -> None:
    try:
        done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ServerMissing("the program openssl is needed to make certificates") from None
    if done.returncode:
        raise ServerMissing(f"openssl failed: {done.stderr.strip()}")


@dataclass(frozen=True)
class Counts:
    """What the sink has taken and given so far."""

    requests: int
    received: int
    sent: int
    stalled: int

    def __sub__(self, before: Counts) -> Counts:
        return Counts(
            self.requests - before.requests,
            self.received - before.received,
            self.sent - before.sent,
            self.stalled - before.stalled,
        )


class Sink:
    """A server that runs."""

    def __init__(self, port: int, certificates: Certificates | None) -> None:
        self.port, self.certificates = port, certificates
        self.url = f"{'https' if certificates else 'http'}://127.0.0.1:{port}"

    def counts(self) -> Counts:
        connection: http.client.HTTPConnection
        if self.certificates:
            trust = ssl.create_default_context(cafile=str(self.certificates.authority))
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=trust)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/count")
            return Counts(**json.loads(connection.getresponse().read()))
        finally:
            connection.close()


@contextmanager
def running_sink(program: Path, core: int, certificates: Certificates | None = None) -> Iterator[Sink]:
    """Start the program on a core, and end it."""
    command = [str(program)] + ([str(certificates.server)] if certificates else [])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            os.sched_setaffinity(process.pid, {core})
            yield Sink(int(process.stdout.readline()), certificates)
        finally:
            process.terminate()
