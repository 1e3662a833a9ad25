"""Certificates for the servers, good and bad, all made on the spot."""

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificates:
    """PEM files. Those that are not an authority's hold a certificate with its chain and its private key."""

    authority: Path
    """The authority that a client must trust to reach `server`."""
    other_authority: Path
    """An authority that has signed nothing here."""
    server: Path
    """For localhost, 127.0.0.1 and ::1."""
    expired: Path
    """For the same names, and past its date."""
    other_host: Path
    """For other.example alone."""
    client: Path
    """A client's, for client@aioreq.example."""

    def server_context(self, certificate: Path | None = None) -> ssl.SSLContext:
        """What a server shows `certificate` with, `server` by default."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate or self.server)
        return context

    def client_context(self, authority: Path | None = None) -> ssl.SSLContext:
        """What a client verifies a server with that trusts only `authority`, this one's by default."""
        return ssl.create_default_context(cafile=authority or self.authority)

    def asking_late(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """A server's context that may ask for a certificate long after the handshake, and a client's that has one."""
        server, client = self.server_context(), self.client_context()
        server.load_verify_locations(self.authority)
        server.verify_mode = ssl.CERT_OPTIONAL
        client.load_cert_chain(self.client)
        for context in (server, client):
            context.post_handshake_auth = True
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        return server, client


def knows_the_client(tls: ssl.SSLObject) -> bool:
    """Whether the client's certificate is there; in the middle of a handshake that can't be asked."""
    try:
        return bool(tls.getpeercert())
    except ValueError:
        return False


def make_certificates(folder: Path) -> Certificates:
    """Makes the authorities and certificates, and writes them into `folder`."""
    authority = trustme.CA()
    names = ("localhost", "127.0.0.1", "::1")
    long_ago = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    issued = {
        "server": authority.issue_cert(*names),
        "expired": authority.issue_cert(*names, not_before=long_ago, not_after=long_ago + dt.timedelta(days=1)),
        "other_host": authority.issue_cert("other.example"),
        "client": authority.issue_cert("client@aioreq.example"),
    }
    for name, certificate in issued.items():
        certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{name}.pem"))
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    trustme.CA().cert_pem.write_to_path(str(folder / "other_authority.pem"))
    return Certificates(
        authority=folder / "authority.pem",
        other_authority=folder / "other_authority.pem",
        **{name: folder / f"{name}.pem" for name in issued},
    )
