"""Whom to trust, and how to be trusted: verify= and cert=, against a server that asks for a certificate."""

import ssl
import subprocess
import traceback
from pathlib import Path
from typing import Any

import pytest
import truststore

import aioreq
from aioreq import FileUnreadable, Session, SSLError
from aioreq._net.trust import make_context
from tests.servers.certificates import Certificates
from tests.servers.nginx import Nginx
from tests.servers.requirements import require

PASSWORD = "open sesame"


@pytest.fixture(scope="session")
def split(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The client's certificate and key in files of their own, and the key encrypted."""
    folder = tmp_path_factory.mktemp("client")
    files = {name: folder / f"{name}.pem" for name in ("certificate", "key", "encrypted")}
    blocks = certificates.client.read_text().split("-----BEGIN ")[1:]
    keys = [block for block in blocks if "PRIVATE KEY" in block]
    files["key"].write_text("".join(f"-----BEGIN {block}" for block in keys))
    files["certificate"].write_text("".join(f"-----BEGIN {block}" for block in blocks if block not in keys))
    command = [require("openssl"), "pkcs8", "-topk8", "-in", files["key"], "-out", files["encrypted"]]
    subprocess.run([*command, "-passout", f"pass:{PASSWORD}"], check=True, capture_output=True)
    return files


async def presented(nginx: Nginx, certificates: Certificates, **options: Any) -> str:
    """What nginx says of our certificate."""
    async with Session(**{"verify": str(certificates.authority), **options}) as session:
        return (await session.get(nginx.tls.url("/client-certificate"))).text


class TestVerify:
    async def test_an_unknown_authority_is_not_trusted(self, nginx: Nginx) -> None:
        """By default an authority that the system doesn't know is not trusted."""
        async with Session() as session:
            with pytest.raises(SSLError, match="certificate is not trusted"):
                await session.get(nginx.tls.url("/"))

    def test_the_default_is_the_systems_trust(self) -> None:
        """By default the operating system's own store and verification decide, on every platform."""
        assert isinstance(make_context(True, None), truststore.SSLContext)

    async def test_the_systems_trust_can_be_extended(
        self, nginx: Nginx, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """SSL_CERT_FILE, OpenSSL's own variable, names the system's store where that is OpenSSL's."""
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
        async with Session() as session:
            assert (await session.get(nginx.tls.url("/status/204"))).status_code == 204

    async def test_a_file_of_authorities(self, nginx: Nginx, certificates: Certificates) -> None:
        """verify= may be a file of authorities, as text or as a path object; others are not trusted then."""
        for path in (certificates.authority, str(certificates.authority)):
            async with Session(verify=path) as session:
                assert (await session.get(nginx.tls.url("/status/204"))).status_code == 204
        async with Session(verify=certificates.other_authority) as session:
            with pytest.raises(SSLError, match="not trusted"):
                await session.get(nginx.tls.url("/"))

    async def test_a_folder_of_authorities(self, nginx: Nginx, certificates: Certificates, tmp_path: Path) -> None:
        """verify= may be a folder of authorities under their hashes (openssl rehash)."""
        command = [require("openssl"), "x509", "-subject_hash", "-noout", "-in", str(certificates.authority)]
        name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        (tmp_path / f"{name}.0").write_bytes(certificates.authority.read_bytes())
        async with Session(verify=tmp_path) as session:
            assert (await session.get(nginx.tls.url("/status/204"))).status_code == 204

    async def test_a_context(self, nginx: Nginx, certificates: Certificates) -> None:
        """verify= may be an SSLContext, which is used as it is: what it has loaded and what it demands."""
        context = certificates.client_context()
        context.load_cert_chain(certificates.client)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        seen: list[str | None] = []
        async with Session(verify=context, event_hooks={"connection": lambda it: seen.append(it.tls)}) as session:
            answer = (await session.get(nginx.tls.url("/client-certificate"))).text
        assert answer.startswith("SUCCESS")
        assert seen == ["TLSv1.2"]

    async def test_no_check_at_all(self, nginx: Nginx) -> None:
        """verify=False takes any certificate, expired and for another host too."""
        async with Session(verify=False) as session:
            for endpoint in (nginx.tls, nginx.expired, nginx.other_host):
                assert (await session.get(endpoint.url("/status/204"))).status_code == 204

    async def test_bad_certificates(self, nginx: Nginx, certificates: Certificates) -> None:
        """An expired certificate, and one for another host, are refused with the reason."""
        async with Session(verify=certificates.authority) as session:
            with pytest.raises(SSLError, match="expired"):
                await session.get(nginx.expired.url("/"))
            with pytest.raises(SSLError, match=r"not valid for '127.0.0.1'"):
                await session.get(nginx.other_host.url("/"))
            assert session.pool.open == 0

    @pytest.mark.parametrize("bad", [None, 1, b"/etc/ssl", ["x"]])
    def test_what_is_none(self, bad: Any) -> None:
        """Anything else is a TypeError: nothing is trusted by accident."""
        with pytest.raises(TypeError, match="verify= is True, False, a path or an SSLContext"):
            Session(verify=bad)

    def test_no_such_file(self, tmp_path: Path) -> None:
        """A path that leads to nothing is refused before anything is sent."""
        with pytest.raises(FileUnreadable, match="none"):
            Session(verify=tmp_path / "none")

    async def test_a_file_without_certificates(self, nginx: Nginx, tmp_path: Path) -> None:
        """A file that holds no certificate is an SSLError that names it, each time."""
        (tmp_path / "text").write_text("no certificate")
        async with Session(verify=tmp_path / "text") as session:
            for _ in range(2):
                with pytest.raises(SSLError, match="text' is not usable as a certificate"):
                    await session.get(nginx.tls.url("/"))


class TestCert:
    async def test_none(self, nginx: Nginx, certificates: Certificates) -> None:
        """Without cert= no certificate is shown to a server that asks for one."""
        assert (await presented(nginx, certificates)).startswith("NONE")

    async def test_one_file(self, nginx: Nginx, certificates: Certificates) -> None:
        """cert= may be a file with certificate and key, as text or as a path object."""
        for cert in (certificates.client, str(certificates.client)):
            assert (await presented(nginx, certificates, cert=cert)).startswith("SUCCESS")

    async def test_two_files(self, nginx: Nginx, certificates: Certificates, split: dict[str, Path]) -> None:
        """cert= may be a file with the certificate and one with the key."""
        cert = (split["certificate"], str(split["key"]))
        assert (await presented(nginx, certificates, cert=cert)).startswith("SUCCESS")

    async def test_an_encrypted_key(self, nginx: Nginx, certificates: Certificates, split: dict[str, Path]) -> None:
        """cert= may have the key's password as a third."""
        cert = (split["certificate"], split["encrypted"], PASSWORD)
        assert (await presented(nginx, certificates, cert=cert)).startswith("SUCCESS")

    async def test_without_verification(self, nginx: Nginx, certificates: Certificates) -> None:
        """cert= and verify=False go together."""
        assert (await presented(nginx, certificates, cert=certificates.client, verify=False)).startswith("SUCCESS")

    async def test_a_missing_password(self, nginx: Nginx, certificates: Certificates, split: dict[str, Path]) -> None:
        """An encrypted key without a password is an SSLError that says what to pass: nobody is asked for it."""
        with pytest.raises(SSLError, match=r"encrypted\.pem' is encrypted: pass cert=\(certificate, key, password\)"):
            await presented(nginx, certificates, cert=(split["certificate"], split["encrypted"]))

    async def test_a_wrong_password(self, nginx: Nginx, certificates: Certificates, split: dict[str, Path]) -> None:
        """A wrong password is an SSLError that does not show it."""
        wrong = "close sesame"
        with pytest.raises(SSLError, match=r"certificate.pem' is not usable as a certificate") as caught:
            await presented(nginx, certificates, cert=(split["certificate"], split["encrypted"], wrong))
        assert wrong not in "".join(traceback.format_exception(caught.value))

    async def test_a_file_without_key(self, nginx: Nginx, certificates: Certificates) -> None:
        """A certificate without its key is an SSLError that names the file."""
        with pytest.raises(SSLError, match=r"authority.pem' is not usable as a certificate"):
            await presented(nginx, certificates, cert=certificates.authority)

    @pytest.mark.parametrize("bad", [1, ["a", "b"], ("a",), ("a", "b", "c", "d"), b"a"])
    def test_what_is_none(self, bad: Any) -> None:
        """Anything else is a TypeError."""
        with pytest.raises(TypeError, match=r"cert= is a path, \(certificate, key\) or"):
            Session(cert=bad)

    def test_no_such_file(self, certificates: Certificates, tmp_path: Path) -> None:
        """A path that leads to nothing is refused before anything is sent, and the password is not shown."""
        for cert in (tmp_path / "none", (certificates.client, tmp_path / "none", PASSWORD)):
            with pytest.raises(FileUnreadable, match="none") as caught:
                Session(cert=cert)
            assert PASSWORD not in str(caught.value)

    def test_a_context_has_its_own(self, certificates: Certificates) -> None:
        """Beside an SSLContext, cert= would be ignored: it is refused, with a word on where it belongs."""
        with pytest.raises(ValueError, match="load_cert_chain"):
            Session(verify=certificates.client_context(), cert=certificates.client)

    async def test_it_is_not_for_proxies(self, nginx: Nginx, certificates: Certificates) -> None:
        """A proxy that asks for a certificate gets none: cert= is for the servers."""
        # nginx as an https proxy that forwards what it can't, and tells what certificate it was shown.
        async with Session(
            proxy=nginx.tls.url("").rstrip("/"), verify=certificates.authority, cert=certificates.client
        ) as session:
            response = await session.get("http://any.invalid/client-certificate")
        assert response.text.startswith("NONE")


def test_names_are_public() -> None:
    """What these arguments raise can be caught by names of the front door."""
    assert issubclass(aioreq.FileUnreadable, aioreq.RequestException)
    assert issubclass(aioreq.SSLError, aioreq.ConnectionError)
