"""The servers as fixtures, each started when it is first asked for and ended with the test run.

The servers' own modules are imported in the fixtures, for a run that needs none of them should not wait for them.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from .endpoint import EchoServer, Endpoint

if TYPE_CHECKING:
    from .certificates import Certificates
    from .nginx import Nginx


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> "Certificates":
    """Authorities and certificates, as PEM files."""
    from .certificates import make_certificates

    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def nginx(certificates: "Certificates") -> "Iterator[Nginx]":
    """nginx; see nginx.conf.template for what it serves."""
    from .nginx import nginx_server

    with nginx_server(certificates) as server:
        yield server


@pytest.fixture(scope="session")
def uvicorn_echo(certificates: "Certificates") -> Iterator[EchoServer]:
    """uvicorn with the echo contract."""
    from .uvicorn_server import uvicorn_server

    with uvicorn_server(certificates) as server:
        yield server


@pytest.fixture(scope="session")
def aiohttp_echo(certificates: "Certificates") -> Iterator[EchoServer]:
    """aiohttp's server with the echo contract."""
    from .aiohttp_server import aiohttp_server

    with aiohttp_server(certificates) as server:
        yield server


@pytest.fixture(scope="session")
def node_echo(certificates: "Certificates") -> Iterator[EchoServer]:
    """Node's http server with the echo contract."""
    from .node_server import node_server

    with node_server(certificates) as server:
        yield server


@pytest.fixture(scope="session")
def httpbin() -> Iterator[Endpoint]:
    """httpbin under gunicorn."""
    from .httpbin_server import httpbin_server

    with httpbin_server() as server:
        yield server


@pytest.fixture(scope="session", params=["uvicorn", "aiohttp", "node"])
def echo_server(request: pytest.FixtureRequest) -> EchoServer:
    """Each server with the echo contract in turn: the test runs once for each."""
    server: EchoServer = request.getfixturevalue(f"{request.param}_echo")
    return server


@pytest.fixture(scope="session", params=["plain", "tls"])
def echo(request: pytest.FixtureRequest, echo_server: EchoServer) -> Endpoint:
    """Each server with the echo contract in turn, over plain HTTP and over TLS."""
    endpoint: Endpoint = getattr(echo_server, request.param)
    return endpoint
