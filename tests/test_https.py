"""HTTPS: whom the client trusts, what it says of whom it does not, and what it asks of the connection."""

import hashlib
import ssl
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

import aioreq
from aioreq import Session
from aioreq.testing import Exchange, FaultServer, script
from tests.servers.certificates import Certificates
from tests.servers.nginx import STATIC_FILES, Nginx


async def refusal(session: Session, url: str) -> aioreq.SSLError:
    """The SSLError of a request that must not reach a server; no connection is left of it."""
    with pytest.raises(aioreq.SSLError) as caught:
        await session.post(url, data=b"secret")
    assert session.pool.open == 0
    error = caught.value
    assert error.request.url.startswith(url)
    assert isinstance(error, aioreq.ConnectionError)
    assert isinstance(error, OSError)
    return error


class TestTrust:
    """`verify=`."""

    async def test_the_system_by_default(self, nginx: Nginx, certificates: Certificates, monkeypatch: Any):
        """By default a server must have a certificate that the system trusts."""
        url = nginx.tls.url("/static/hello.txt")
        async with Session() as session:
            error = await refusal(session, url)
            assert "the server's certificate is not trusted" in str(error)
        with pytest.raises(aioreq.SSLError, match="certificate is not trusted"):
            await aioreq.get(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
        async with Session() as session:
            assert (await session.get(url)).content == STATIC_FILES["hello.txt"]

    @pytest.mark.parametrize("kind", [str, Path])
    async def test_a_file(self, kind: Callable[[Path], Any], nginx: Nginx, certificates: Certificates):
        """verify= takes the path of a file with the authorities to trust, and no others are."""
        async with Session(verify=kind(certificates.authority)) as session:
            assert (await session.get(nginx.tls.url("/status/200"))).status_code == 200
        async with Session(verify=kind(certificates.other_authority)) as session:
            error = await refusal(session, nginx.tls.url("/status/200"))
            assert "unable to get local issuer certificate" in str(error)

    async def test_a_folder(self, nginx: Nginx, certificates: Certificates, tmp_path: Path):
        """verify= takes the path of a folder of authorities, named by their hashes as OpenSSL wants it."""
        (tmp_path / name_by_hash(certificates.authority)).write_bytes(certificates.authority.read_bytes())
        async with Session(verify=str(tmp_path)) as session:
            assert (await session.get(nginx.tls.url("/status/200"))).status_code == 200

    async def test_a_context(self, nginx: Nginx, certificates: Certificates):
        """verify= takes an SSLContext, and uses it as it is."""
        async with Session(verify=certificates.client_context()) as session:
            assert (await session.get(nginx.tls.url("/status/200"))).status_code == 200
        async with Session(verify=certificates.client_context(certificates.other_authority)) as session:
            await refusal(session, nginx.tls.url("/status/200"))

    @pytest.mark.parametrize("name", ["tls", "expired", "other_host"])
    async def test_no_check(self, name: str, nginx: Nginx):
        """verify=False takes any certificate."""
        async with Session(verify=False) as session:
            assert (await session.get(getattr(nginx, name).url("/status/204"))).status_code == 204

    @pytest.mark.parametrize(
        ("name", "reason"),
        [("expired", "certificate has expired"), ("other_host", "IP address mismatch")],
    )
    async def test_bad_certificates(self, name: str, reason: str, nginx: Nginx, certificates: Certificates):
        """A certificate that has expired, or is another host's, is refused; the error says which."""
        for verify in (certificates.authority, certificates.client_context()):
            async with Session(verify=verify) as session:
                error = await refusal(session, getattr(nginx, name).url("/"))
                assert reason in str(error)

    async def test_a_file_that_is_none(self, nginx: Nginx, tmp_path: Path):
        """A file without a certificate is an SSLError that names it."""
        (tmp_path / "empty.pem").write_text("nothing")
        async with Session(verify=tmp_path / "empty.pem") as session:
            error = await refusal(session, nginx.tls.url("/"))
            assert "empty.pem" in str(error)

    async def test_after_a_refusal(self, nginx: Nginx, certificates: Certificates):
        """A refused server does not spoil the session for others."""
        async with Session(verify=certificates.authority) as session:
            for _ in range(3):
                await refusal(session, nginx.expired.url("/"))
                assert (await session.get(nginx.tls.url("/status/204"))).status_code == 204
                await session.get(nginx.tls.url("/"), headers={"Connection": "close"})


def name_by_hash(authority: Path) -> str:
    """The name under which OpenSSL looks for an authority in a folder: the hash of its subject, in lower case."""
    subject = x509.load_pem_x509_certificate(authority.read_bytes()).subject
    lower = x509.Name([x509.NameAttribute(part.oid, part.value.lower()) for part in subject]).public_bytes()
    without_outer_sequence = lower[2:]
    return f"{int.from_bytes(hashlib.sha1(without_outer_sequence).digest()[:4], 'little'):08x}.0"


@dataclass
class Greeting:
    """What a server saw of a client's first message."""

    names: list[str | None] = field(default_factory=list)
    objects: list[ssl.SSLObject] = field(default_factory=list)


@pytest.fixture
def greeting() -> Greeting:
    return Greeting()


@pytest.fixture
def tls_server(certificates: Certificates, greeting: Greeting) -> Iterator[FaultServer]:
    """A server that writes down the names it is asked for, and speaks HTTP/2 if a client does."""
    context = certificates.server_context()
    context.set_alpn_protocols(["h2", "http/1.1"])

    def note(connection: Any, name: str | None, _context: ssl.SSLContext) -> None:
        greeting.names.append(name)
        greeting.objects.append(connection)

    context.sni_callback = note
    with FaultServer(tls=context) as server:
        yield server


class TestHandshake:
    """What is said in it."""

    async def test_sni(self, tls_server: FaultServer, greeting: Greeting, certificates: Certificates):
        """The host's name is told to the server (SNI), an address is not (RFC 6066, section 3)."""
        port = tls_server.address[1]
        async with Session(verify=certificates.authority) as session:
            assert (await session.get(f"https://localhost:{port}/")).status_code == 200
            assert (await session.get(f"https://127.0.0.1:{port}/")).status_code == 200
        assert greeting.names == ["localhost", None]

    async def test_alpn(self, tls_server: FaultServer, greeting: Greeting, certificates: Certificates):
        """HTTP/1.1 is what the client asks for, so that a server which prefers HTTP/2 does not speak it."""
        async with Session(verify=certificates.authority) as session:
            assert (await session.get(tls_server.url)).http_version == "HTTP/1.1"
        assert [connection.selected_alpn_protocol() for connection in greeting.objects] == ["http/1.1"]

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_versions(self, version: ssl.TLSVersion, certificates: Certificates):
        """TLS 1.2 and 1.3 are spoken."""
        context = certificates.server_context()
        context.minimum_version = context.maximum_version = version
        with FaultServer(tls=context) as server:
            async with Session(verify=certificates.authority) as session:
                response = await session.post(server.url, data=bytes(100_000))
                assert response.json()["received"] == 100_000

    @pytest.mark.parametrize("verify", ["authority", "no check"])
    async def test_old_versions(self, verify: str, certificates: Certificates):
        """Nothing below TLS 1.2 is spoken, verified or not."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old = _speak_old(certificates.server_context())
            permissive = _speak_old(certificates.client_context())
        with FaultServer(tls=old) as server:
            async with Session(verify=certificates.authority if verify == "authority" else False) as session:
                error = await refusal(session, server.url)
                assert "TLS failed" in str(error)
            async with Session(verify=permissive) as session:  # the server does work for who speaks it
                assert (await session.get(server.url)).status_code == 200

    async def test_a_server_that_says_nothing(self, certificates: Certificates):
        """A handshake that is not answered ends with ConnectTimeout, and leaves no connection behind."""
        with FaultServer(tls=certificates.server_context(), on_connect=_say_nothing()) as server:
            async with Session(verify=certificates.authority, timeout=aioreq.Timeout(connect=0.05)) as session:
                with pytest.raises(aioreq.ConnectTimeout, match=r"no connection to https://.* within 0\.05 seconds"):
                    await session.get(server.url)
                assert session.pool.open == 0

    async def test_a_server_that_hangs_up(self, certificates: Certificates):
        """A connection that is closed in the handshake is an SSLError."""
        with FaultServer(tls=certificates.server_context(), on_connect=_hang_up()) as server:
            async with Session(verify=certificates.authority) as session:
                error = await refusal(session, server.url)
                assert "closed the connection during the TLS handshake" in str(error)

    async def test_a_server_without_tls(self):
        """https to a port that speaks plain HTTP is an SSLError."""
        with FaultServer() as server:
            async with Session() as session:
                error = await refusal(session, server.url.replace("http://", "https://"))
                assert "TLS failed: the server does not speak TLS" in str(error)

    async def test_plain_http_to_a_tls_port(self, certificates: Certificates):
        """http to a port that speaks TLS is a RemoteProtocolError or a lost connection: never an answer."""
        with FaultServer(tls=certificates.server_context()) as server:
            async with Session() as session:
                with pytest.raises(aioreq.RemoteProtocolError):
                    await session.get(server.url.replace("https://", "http://"))
                assert session.pool.open == 0
            server.reached("closed").wait()

    async def test_the_goodbye(self, certificates: Certificates):
        """Closing a session says goodbye in TLS too: the server sees an end, and no broken connection."""
        with FaultServer(tls=certificates.server_context()) as server:
            async with Session(verify=certificates.authority) as session:
                await session.get(server.url)
            await server.reached("closed")
            assert [connection.ended for connection in server.connections] == ["client closed"]


def _speak_old(context: ssl.SSLContext) -> ssl.SSLContext:
    """Let a context speak TLS 1.1, and nothing later."""
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


@script
async def _say_nothing(exchange: Exchange) -> None:
    await exchange.pause("silent")


@script
async def _hang_up(exchange: Exchange) -> None:
    await exchange.close()


class TestClientCertificate:
    """`cert=`, as nginx sees it."""

    async def seen(self, nginx: Nginx, **options: Any) -> str:
        async with Session(**options) as session:
            return (await session.get(nginx.tls.url("/client-certificate"))).text

    async def test_none(self, nginx: Nginx, certificates: Certificates):
        """Without cert= no certificate is shown."""
        assert await self.seen(nginx, verify=certificates.authority) == "NONE \n"

    async def test_one_file(self, nginx: Nginx, certificates: Certificates):
        """cert= takes the path of a file with certificate and key."""
        for path in (certificates.client, str(certificates.client)):
            assert (await self.seen(nginx, verify=certificates.authority, cert=path)).startswith("SUCCESS ")

    async def test_two_files(self, nginx: Nginx, certificates: Certificates, tmp_path: Path):
        """... or of two files, in this order."""
        text = certificates.client.read_text()
        start = text.index("-----BEGIN CERTIFICATE-----")
        (tmp_path / "key.pem").write_text(text[:start])
        (tmp_path / "certificate.pem").write_text(text[start:])
        pair = (tmp_path / "certificate.pem", tmp_path / "key.pem")
        assert (await self.seen(nginx, verify=certificates.authority, cert=pair)).startswith("SUCCESS ")

    async def test_in_a_context(self, nginx: Nginx, certificates: Certificates):
        """A context that has one shows it."""
        context = certificates.client_context()
        context.load_cert_chain(certificates.client)
        assert (await self.seen(nginx, verify=context)).startswith("SUCCESS ")

    async def test_a_certificate_without_its_key(self, nginx: Nginx, certificates: Certificates):
        """A certificate without its key is an SSLError that names the file."""
        with pytest.raises(aioreq.SSLError, match=r"authority\.pem"):
            await self.seen(nginx, verify=certificates.authority, cert=certificates.authority)
