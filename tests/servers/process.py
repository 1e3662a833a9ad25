"""A server in a child process: started, waited for, and ended."""

import http.client
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .endpoint import Endpoint

_ROOT = Path(__file__).parents[2]
_SECONDS_TO_END = 10


class ServerError(Exception):
    """A server did not start, or ended on its own. The message holds what it wrote."""


@contextmanager
def server_process(
    command: Sequence[str],
    *,
    listeners: Sequence[socket.socket],
    awaited: Sequence[Endpoint],
    environment: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Runs `command` for as long as the context lasts, entered once each endpoint in `awaited` answers.

    The process inherits `listeners` under their own numbers; they are closed here. `environment` comes on top of
    this process's own. Raises ServerError if the server does not answer, or has ended before the context has.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=_ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno() for listener in listeners],
            # A group of its own, for a server of several processes to end whole, and none by a Ctrl-C at the tests.
            process_group=0,
        )
        try:
            # The child alone holds the ports now: should it die, clients are refused and do not wait in vain.
            for listener in listeners:
                listener.close()
            _await_answers(awaited, command, output)
            yield
            if process.poll() is not None:
                raise ServerError(f"{command[0]} ended with {process.returncode} while in use:\n{_read(output)}")
        finally:
            _end(process)


def _await_answers(endpoints: Sequence[Endpoint], command: Sequence[str], output: IO[bytes]) -> None:
    for endpoint in endpoints:
        try:
            endpoint.await_answer()
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"{command[0]} does not answer ({error!r}):\n{_read(output)}") from error


def _read(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
