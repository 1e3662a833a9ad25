"""Real proxies: tinyproxy, squid, microsocks, and the SOCKS side of ssh."""

import getpass
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tests.servers.endpoint import SECONDS_TO_START, Endpoint, listening_socket
from tests.servers.process import server_process
from tests.servers.requirements import require

USERNAME, PASSWORD = "proxy-user", "open-sesame"


@dataclass(frozen=True)
class RunningProxy:
    """A proxy on 127.0.0.1.

    `log` is the file it writes what it does to, where it writes one.
    """

    port: int
    log: Path | None = None

    def url(self, scheme: str, username: str | None = None, password: str = "") -> str:
        """The URL that leads clients here."""
        credentials = "" if username is None else f"{quote(username, safe='')}:{quote(password, safe='')}@"
        return f"{scheme}://{credentials}127.0.0.1:{self.port}"


class _LatePort(Endpoint):
    """A port that its server opens by itself, and that refuses until then."""

    def await_answer(self, path: str = "") -> None:
        """Return when somebody listens. These servers say so in no other way than by listening."""
        give_up = time.monotonic() + SECONDS_TO_START
        while True:
            try:
                socket.create_connection((self.host, self.port)).close()
            except ConnectionRefusedError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.01)
            else:
                return


@contextmanager
def tinyproxy(*, private: bool = False) -> Iterator[RunningProxy]:
    """tinyproxy, an HTTP proxy; a private one wants USERNAME and PASSWORD."""
    program = require("tinyproxy")
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="tinyproxy-") as folder:
        configuration, log = Path(folder, "tinyproxy.conf"), Path(folder, "log")
        lines = [f"Port {port}", "Listen 127.0.0.1", "Timeout 60", f'LogFile "{log}"', "LogLevel Connect"]
        if private:
            lines.append(f"BasicAuth {USERNAME} {PASSWORD}")
        configuration.write_text("\n".join(lines) + "\n")
        with server_process([program, "-d", "-c", str(configuration)], listeners=[], awaited=[_LatePort("http", port)]):
            yield RunningProxy(port, log)


@contextmanager
def squid(*, private: bool = False, largest_body: int | None = None) -> Iterator[RunningProxy]:
    """squid, an HTTP proxy; a private one wants USERNAME and PASSWORD, and says 413 beyond `largest_body` bytes."""
    program = require("squid")
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="squid-") as folder:
        # Started by root, squid goes on as a user of its own, who writes its log and reads what it is told here.
        Path(folder).chmod(0o777)
        configuration, log, judge = (Path(folder, name) for name in ("squid.conf", "log", "judge.sh"))
        lines = [f"http_port 127.0.0.1:{port}", f"access_log stdio:{log}", f"cache_log {folder}/cache.log"]
        lines += ["pid_filename none", "pinger_enable off", "netdb_filename none", "cache_store_log none"]
        lines += ["cache deny all", "cache_mem 0", "memory_pools off", "max_filedescriptors 1024"]
        lines += ["shutdown_lifetime 0 seconds", f"coredump_dir {folder}", "visible_hostname tests"]
        if largest_body is not None:
            lines.append(f"request_body_max_size {largest_body} bytes")
        if private:
            judge.write_text(
                f'while read -r claim; do [ "$claim" = "{USERNAME} {PASSWORD}" ] && echo OK || echo ERR; done\n'
            )
            lines += [f"auth_param basic program /bin/sh {judge}", "auth_param basic children 1 startup=1"]
            lines += ["acl known proxy_auth REQUIRED", "http_access allow known", "http_access deny all"]
        else:
            lines.append("http_access allow all")
        configuration.write_text("\n".join(lines) + "\n")
        with server_process([program, "-N", "-f", str(configuration)], listeners=[], awaited=[_LatePort("http", port)]):
            yield RunningProxy(port, log)


@contextmanager
def microsocks() -> Iterator[RunningProxy]:
    """microsocks, a SOCKS5 proxy that wants USERNAME and PASSWORD."""
    program = require("microsocks")
    port = _free_port()
    command = [program, "-i", "127.0.0.1", "-p", str(port), "-u", USERNAME, "-P", PASSWORD]
    with server_process(command, listeners=[], awaited=[_LatePort("socks5", port)]):
        yield RunningProxy(port)


@contextmanager
def ssh_socks() -> Iterator[RunningProxy]:
    """A SOCKS4, 4a and 5 proxy: `ssh -D`, logged in to an sshd of its own that it talks to without a socket."""
    ssh, sshd, keygen = require("ssh"), require("sshd"), require("ssh-keygen")
    port = _free_port()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd locks its unprivileged half in; a service's start makes it
    with tempfile.TemporaryDirectory(prefix="ssh-") as folder:
        for key in ("host", "user"):
            subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/{key}"], check=True)
        Path(folder, "sshd.conf").write_text(
            f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
            "StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\n"
        )
        options = {
            "IdentityFile": f"{folder}/user",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "ExitOnForwardFailure": "yes",
            "ProxyCommand": f"{sshd} -i -e -f {folder}/sshd.conf",
        }
        given = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        command = [ssh, "-F", "none", "-N", "-D", f"127.0.0.1:{port}", *given, f"{getpass.getuser()}@tests"]
        with server_process(command, listeners=[], awaited=[_LatePort("socks5", port)]):
            yield RunningProxy(port)


def _free_port() -> int:
    """A port that is free now. These servers can't be handed a socket, and don't tell which port they chose."""
    with listening_socket() as listener:
        return int(listener.getsockname()[1])
