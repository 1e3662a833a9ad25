"""The proxies as fixtures, and an environment that names none."""

import os
import socket
from collections.abc import Iterator

import pytest

from .proxies import RunningProxy, microsocks, squid, ssh_socks, tinyproxy


@pytest.fixture(autouse=True)
def no_proxy_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine's environment says, a test starts without proxies."""
    for name in list(os.environ):
        if name.lower() in {"http_proxy", "https_proxy", "all_proxy", "no_proxy", "request_method"}:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def http_proxy() -> Iterator[RunningProxy]:
    """tinyproxy, open to all."""
    with tinyproxy() as proxy:
        yield proxy


@pytest.fixture(scope="session")
def private_proxy() -> Iterator[RunningProxy]:
    """tinyproxy, for those with credentials."""
    with tinyproxy(private=True) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def open_squid() -> Iterator[RunningProxy]:
    """squid, open to all."""
    with squid() as proxy:
        yield proxy


@pytest.fixture(scope="session")
def private_squid() -> Iterator[RunningProxy]:
    """squid, for those with credentials, and for bodies of 5 MB at most."""
    with squid(private=True, largest_body=5_000_000) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def socks_proxy() -> Iterator[RunningProxy]:
    """ssh -D: SOCKS4, 4a and 5, open to all."""
    with ssh_socks() as proxy:
        yield proxy


@pytest.fixture(scope="session")
def private_socks_proxy() -> Iterator[RunningProxy]:
    """microsocks: SOCKS5, for those with credentials."""
    with microsocks() as proxy:
        yield proxy


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections: taken, so that nobody else listens there, but not listening."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
