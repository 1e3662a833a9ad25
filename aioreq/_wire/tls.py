"""TLS as bytes: cleartext in, records out, and back.

aioreq drives the TLS state machine itself, in memory, instead of letting the transport do it. What the
server said just before it reset the connection then lies in our hands as records, and can still be read:
asyncio's own TLS transport throws it away.
"""

from __future__ import annotations

import contextlib
import ssl
import threading

from ..exceptions import SSLError

# A read gives one record at most, and room for more would be allocated and given back each time.
_READ_SIZE = 16 * 1024
_RECORD_HEAD = 5  # type, version and length (RFC 8446, section 5.1)


class TLS:
    """One side of a TLS connection.

    A thread may :meth:`encrypt` while another one decrypts: each waits for the other's call to end, for as long as a
    record or a few take.

    Attributes:
        ready: whether the handshake is done.
        ended: whether the other side has said that it will send no more (close_notify, RFC 8446, section 6.1).
    """

    def __init__(self, context: ssl.SSLContext, server_hostname: str | None, *, server_side: bool = False) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )
        self.ready = False
        self.ended = False
        self._broken: str | None = None
        self._lock = threading.Lock()  # OpenSSL's state is one for both directions

    @property
    def object(self) -> ssl.SSLObject:
        """The handshake's outcome: certificate, cipher, version."""
        return self._object

    def handshake(self) -> bytes:
        """Go on with the handshake; the records to send.

        Raises:
            SSLError: it failed; :meth:`pending` has the alert that tells the other side.
        """
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLError, ssl.CertificateError) as error:
            raise SSLError(_explain(error)) from error
        else:
            self.ready = True
        return self._outgoing.read()

    @property
    def has_pending(self) -> bool:
        """Whether :meth:`pending` would return anything."""
        return bool(self._outgoing.pending)

    def pending(self) -> bytes:
        """Records to send that no other call has returned."""
        return self._outgoing.read()

    def encrypt(self, data: bytes | memoryview) -> bytes:
        """The records for cleartext, behind what :meth:`pending` would have returned."""
        with self._lock:
            try:
                self._object.write(data)
            except ssl.SSLError as error:
                raise SSLError(_explain(error)) from error
            return self._outgoing.read()

    def decrypt(self, records: bytes) -> list[bytes]:
        """The cleartext in received records, those before a broken one included; ``[]`` if none is whole yet.

        Raises:
            SSLError: the first record that is left is broken, or is a fatal alert; nothing is read behind it.
        """
        with self._lock:
            self._incoming.write(records)
            return self._read_all()

    def receive_handshake(self, records: bytes) -> tuple[list[bytes], bytes]:
        """Take records in while the handshake goes on: (early cleartext, records to send)."""
        self._incoming.write(records)
        to_send = self.handshake()
        return (self._read_all() if self.ready and self._incoming.pending else []), to_send

    def _read_all(self) -> list[bytes]:
        if self._broken is not None:
            raise SSLError(self._broken)
        chunks: list[bytes] = []
        incoming, tls = self._incoming, self._object
        while True:
            try:
                chunk = tls.read(_READ_SIZE)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                self.ended = True
                break
            except ssl.SSLError as error:
                # Asked again, OpenSSL would take a fatal alert for the end: a cut answer would pass for a whole one.
                self._broken = _explain(error)
                if chunks:
                    break  # what came before it counts; the error is raised by the next call
                raise SSLError(self._broken) from error
            if not chunk:
                self.ended = True
                break
            chunks.append(chunk)
            # An SSLWantReadError costs more than a small read: ask again only while there is something to ask for.
            if not (incoming.pending or tls.pending()):
                break
        return chunks

    def close(self) -> bytes:
        """The close_notify that says we send no more, or nothing before the handshake is done."""
        if not self.ready:
            return b""
        with contextlib.suppress(ssl.SSLError):  # the other side's close_notify need not be waited for
            self._object.unwrap()
        return self._outgoing.read()


def are_whole_records(data: bytes) -> bool:
    """Whether ``data`` ends where a record ends, if it begins where one begins."""
    at = 0
    while at < len(data):
        at += _RECORD_HEAD + int.from_bytes(data[at + 3 : at + _RECORD_HEAD])
    return at == len(data)


def _explain(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted: {error.verify_message or error.reason}"
    reason = getattr(error, "reason", None) or str(error)
    if reason == "WRONG_VERSION_NUMBER":
        return (
            "TLS failed: the server does not speak TLS on this port (should the URL begin with http://?), "
            "or only a version below 1.2"
        )
    return f"TLS failed: {reason}"
