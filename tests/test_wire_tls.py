"""TLS in memory: both sides' records cut at every place, ends and alerts, certificates that are not to be trusted."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from aioreq._wire.tls import TLS, are_whole_records
from aioreq.exceptions import SSLError
from tests.servers.certificates import Certificates

PATIENCE = 10.0
DATA = bytes(range(256)) * 8
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start, end in pairwise([*range(0, len(data), size), len(data)]):
        yield data[start:end]


def shake_hands(client: TLS, server: TLS, size: int = 1 << 20) -> None:
    """Carry the handshake's records to and fro, in pieces of this size, until both sides are ready."""
    to_server, to_client = client.handshake(), server.handshake()
    while to_server or to_client:
        for piece in pieces(to_server, size):
            early, answer = server.receive_handshake(piece) if not server.ready else (server.decrypt(piece), b"")
            assert not early
            to_client += answer
        to_server = b""
        for piece in pieces(to_client, size):
            early, answer = client.receive_handshake(piece) if not client.ready else (client.decrypt(piece), b"")
            assert not early
            to_server += answer
        to_client = b""


@contextmanager
def in_thread(work: Callable[[], object]) -> Iterator[None]:
    """Have a thread do it beside what is done here."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(PATIENCE)


class SlowToWrite:
    """A TLS object whose write gives others time to come in between.

    Attributes:
        writing: set when a write has begun.
        was_read_meanwhile: whether a read began before the write had ended.
    """

    def __init__(self, real: ssl.SSLObject) -> None:
        self._real = real
        self._reading = threading.Event()
        self.writing = threading.Event()
        self.was_read_meanwhile = False

    def write(self, data: bytes) -> int:
        self.writing.set()
        self.was_read_meanwhile = self._reading.wait(0.05)
        return self._real.write(data)

    def read(self, size: int) -> bytes:
        self._reading.set()
        return self._real.read(size)

    def pending(self) -> int:
        return self._real.pending()


@pytest.fixture(params=VERSIONS, ids=[version.name for version in VERSIONS])
def contexts(request: pytest.FixtureRequest, certificates: Certificates) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A client's and a server's context of each TLS version in turn."""
    client, server = certificates.client_context(), certificates.server_context()
    client.minimum_version = client.maximum_version = request.param
    return client, server


def sides(contexts: tuple[ssl.SSLContext, ssl.SSLContext], host: str = "localhost") -> tuple[TLS, TLS]:
    return TLS(contexts[0], host), TLS(contexts[1], None, server_side=True)


@pytest.fixture
def connected(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> tuple[TLS, TLS]:
    """A client and a server whose handshake is done."""
    client, server = sides(contexts)
    shake_hands(client, server)
    return client, server


def break_off(tls: TLS) -> bytes:
    """Have a side send a fatal alert: the records."""
    with pytest.raises(SSLError):
        tls.decrypt(b"\x17\x03\x03\x00\x20" + bytes(32))
    alert = tls.pending()
    assert alert
    return alert


class TestHandshake:
    @pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
    def test_it_is_done_however_its_records_are_cut(self, contexts: tuple[ssl.SSLContext, ssl.SSLContext], size: int):
        """The handshake is done on both sides when its records have come, in pieces of any size."""
        client, server = sides(contexts)
        shake_hands(client, server, size)
        assert client.ready
        assert server.ready
        assert client.object.version() == server.object.version()
        assert client.decrypt(server.encrypt(b"hello")) == [b"hello"]
        assert server.decrypt(client.encrypt(memoryview(b"hello"))) == [b"hello"]

    def test_what_was_agreed_can_be_seen(self, connected: tuple[TLS, TLS]):
        """The handshake's outcome is there: the server's certificate, the cipher."""
        client, _ = connected
        certificate = client.object.getpeercert()
        assert certificate is not None
        assert ("DNS", "localhost") in certificate["subjectAltName"]
        assert client.object.cipher() is not None

    def test_cleartext_behind_the_last_handshake_record(self, certificates: Certificates):
        """What the server says in one breath with the end of the handshake is not lost."""
        context = certificates.client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        client, server = sides((context, certificates.server_context()))
        _, hello = server.receive_handshake(client.handshake())
        _, key = client.receive_handshake(hello)
        _, finished = server.receive_handshake(key)
        assert server.ready
        assert not client.ready
        early, to_send = client.receive_handshake(finished + server.encrypt(b"early") + server.encrypt(b"bird"))
        assert client.ready
        assert (b"".join(early), to_send) == (b"earlybird", b"")

    def test_nothing_is_closed_before_it_is_done(self, contexts: tuple[ssl.SSLContext, ssl.SSLContext]):
        """There is nothing to close with before both sides have keys."""
        client, _ = sides(contexts)
        assert client.close() == b""
        client.handshake()
        assert client.close() == b""


class TestRecords:
    def test_cleartext_is_the_same_wherever_records_are_cut(self, connected: tuple[TLS, TLS]):
        """Records cut in two at any place give all their cleartext, each one's as soon as it is whole."""
        client, server = connected
        first = len(server_records := server.encrypt(b"first"))
        assert client.decrypt(server_records) == [b"first"]
        for cut in range(2 * first + 1):
            records = server.encrypt(b"apple") + server.encrypt(b"berry")
            assert client.decrypt(records[:cut]) == [b"apple", b"berry"][: cut // first]
            assert client.decrypt(records[cut:]) == [b"apple", b"berry"][cut // first :]

    @pytest.mark.parametrize("size", [1, 13, 1000, 1 << 20])
    def test_a_long_text_comes_through(self, connected: tuple[TLS, TLS], size: int):
        """What takes many records comes through in pieces of any size."""
        client, server = connected
        data = DATA * 30
        received = [chunk for piece in pieces(server.encrypt(data), size) for chunk in client.decrypt(piece)]
        assert b"".join(received) == data
        assert not client.ended

    def test_both_ways_at_once(self, connected: tuple[TLS, TLS]):
        """A thread may encrypt while another one decrypts: what they say and hear is whole, and in its order."""
        client, server = connected
        told = [server.encrypt(b"%d" % number) for number in range(2000)]
        records: list[bytes] = []
        with in_thread(lambda: records.extend(client.encrypt(DATA * 64) for _ in range(100))):
            heard = [chunk for record in told for chunk in client.decrypt(record)]
        assert heard == [b"%d" % number for number in range(2000)]
        assert b"".join(server.decrypt(b"".join(records))) == DATA * 6400

    def test_one_way_waits_for_the_other(self, connected: tuple[TLS, TLS]):
        """OpenSSL has one state for both ways: while one thread is in a call, the other one's begins no work on it."""
        client, server = connected
        record, slow = server.encrypt(b"hello"), SlowToWrite(client.object)
        client._object = slow
        with in_thread(lambda: client.encrypt(b"hello")):
            assert slow.writing.wait(PATIENCE)
            assert client.decrypt(record) == [b"hello"]
        assert not slow.was_read_meanwhile

    def test_a_large_write_and_a_large_read(self, connected: tuple[TLS, TLS]):
        """Four mebibytes in one go, each way."""
        client, server = connected
        data = DATA * 2048
        assert b"".join(client.decrypt(server.encrypt(data))) == data
        assert b"".join(server.decrypt(client.encrypt(data))) == data

    @pytest.mark.parametrize("behind", [1, 10, 1000])
    def test_a_record_is_not_cut_small(self, connected: tuple[TLS, TLS], behind: int):
        """A record that comes in two pieces, the second with the begin of the next one, gives few chunks."""
        client, server = connected
        records, following = server.encrypt(bytes(16 * 1024)), server.encrypt(bytes(16 * 1024))
        assert client.decrypt(records[:-100]) == []
        chunks = client.decrypt(records[-100:] + following[:behind])
        assert b"".join(chunks) == bytes(16 * 1024)
        assert len(chunks) <= 2
        assert b"".join(client.decrypt(following[behind:])) == bytes(16 * 1024)

    def test_an_incomplete_record_gives_nothing(self, connected: tuple[TLS, TLS]):
        """A record counts when it is whole."""
        client, server = connected
        records = server.encrypt(b"text")
        assert client.decrypt(records[:-1]) == []
        assert client.decrypt(b"") == []
        assert client.decrypt(records[-1:]) == [b"text"]

    def test_where_records_end(self, connected: tuple[TLS, TLS]):
        """Whole records are told from those that are cut anywhere, without a key."""
        _, server = connected
        first, second = server.encrypt(b"apple"), server.encrypt(b"berries")
        ends = {0, len(first), len(first + second)}
        for cut in range(len(first + second) + 1):
            assert are_whole_records((first + second)[:cut]) is (cut in ends)


class TestTheEnd:
    def test_close_notify_is_the_end(self, connected: tuple[TLS, TLS]):
        """The other side's close_notify sets `ended`, and is no error."""
        client, server = connected
        goodbye = server.close()
        assert goodbye
        assert not client.ended
        assert client.decrypt(goodbye) == []
        assert client.ended

    def test_cleartext_before_close_notify_counts(self, connected: tuple[TLS, TLS]):
        """What was said before the end is given, wherever the records are cut."""
        client, server = connected
        records = server.encrypt(b"last words") + server.close()
        received = [chunk for piece in pieces(records, 5) for chunk in client.decrypt(piece)]
        assert received == [b"last words"]
        assert client.ended

    def test_cleartext_and_close_notify_in_one_piece(self, connected: tuple[TLS, TLS]):
        """Both can come at once."""
        client, server = connected
        assert client.decrypt(server.encrypt(b"last words") + server.close()) == [b"last words"]
        assert client.decrypt(b"") == []
        assert client.ended

    def test_an_end_that_is_answered(self, connected: tuple[TLS, TLS]):
        """Each side says for itself that it will send no more; saying it twice does no harm."""
        client, server = connected
        client.decrypt(server.close())
        assert server.decrypt(client.close()) == []
        assert server.ended
        assert client.close() == b""


class TestAlerts:
    def test_a_record_before_an_alert_counts(self, connected: tuple[TLS, TLS]):
        """An answer in front of a fatal alert is given first; the error comes with the next call."""
        client, server = connected
        records = server.encrypt(b"413 Content Too Large") + break_off(server)
        assert client.decrypt(records) == [b"413 Content Too Large"]
        for more in (b"", b"more", server.close()):
            with pytest.raises(SSLError, match="TLS failed: .*ALERT"):
                client.decrypt(more)
        assert not client.ended

    def test_an_alert_alone(self, connected: tuple[TLS, TLS]):
        """A fatal alert is an error whose message names it."""
        client, server = connected
        with pytest.raises(SSLError, match=r"TLS failed: .*ALERT.*BAD_RECORD_MAC"):
            client.decrypt(break_off(server))

    def test_a_record_before_a_broken_one_counts(self, connected: tuple[TLS, TLS]):
        """A record that was changed on its way is an error; the one before it is given first."""
        client, server = connected
        good, bad = server.encrypt(b"good"), bytearray(server.encrypt(b"bad"))
        bad[-1] ^= 1
        assert client.decrypt(good + bytes(bad)) == [b"good"]
        with pytest.raises(SSLError, match="TLS failed: .*BAD_RECORD_MAC"):
            client.decrypt(server.encrypt(b"more"))
        assert not client.ended

    def test_a_missing_client_certificate(self, certificates: Certificates):
        """A server that wants a certificate says so when the handshake seems done (TLS 1.3)."""
        context = certificates.server_context()
        context.verify_mode = ssl.CERT_REQUIRED
        client, server = sides((certificates.client_context(), context))
        _, hello = server.receive_handshake(client.handshake())
        _, finished = client.receive_handshake(hello)
        assert client.ready
        with pytest.raises(SSLError, match="TLS failed: PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            server.receive_handshake(finished)
        with pytest.raises(SSLError, match="TLS failed: .*CERTIFICATE_REQUIRED"):
            client.decrypt(server.pending())


class TestTrust:
    def fail_handshake(self, client_context: ssl.SSLContext, server_context: ssl.SSLContext, host: str) -> str:
        """What a client says of a server that it does not trust; the server is told so by an alert."""
        client, server = sides((client_context, server_context), host)
        _, hello = server.receive_handshake(client.handshake())
        with pytest.raises(SSLError) as caught:
            client.receive_handshake(hello)
        assert not client.ready
        with pytest.raises(SSLError, match="ALERT"):
            server.receive_handshake(client.pending())
        assert isinstance(caught.value, OSError)
        return str(caught.value)

    def test_an_authority_that_is_not_trusted(self, certificates: Certificates):
        """A certificate of an unknown authority is refused."""
        message = self.fail_handshake(
            certificates.client_context(certificates.other_authority), certificates.server_context(), "localhost"
        )
        assert message.startswith("the server's certificate is not trusted: ")
        assert "unable to get local issuer certificate" in message

    @pytest.mark.parametrize("host", ["localhost.example", "127.0.0.2"])
    def test_another_host(self, certificates: Certificates, host: str):
        """A certificate for another name or address is refused, and the message tells which was wanted."""
        message = self.fail_handshake(certificates.client_context(), certificates.server_context(), host)
        assert message.startswith("the server's certificate is not trusted: ")
        assert host in message

    def test_an_expired_certificate(self, certificates: Certificates):
        """A certificate past its date is refused."""
        context = certificates.server_context(certificates.expired)
        message = self.fail_handshake(certificates.client_context(), context, "localhost")
        assert message == "the server's certificate is not trusted: certificate has expired"

    def test_a_certificate_for_an_address(self, certificates: Certificates):
        """An address is checked like a name."""
        client, server = sides((certificates.client_context(), certificates.server_context()), "127.0.0.1")
        shake_hands(client, server)
        assert client.ready

    def test_a_server_without_tls(self, contexts: tuple[ssl.SSLContext, ssl.SSLContext]):
        """A plain answer where TLS was expected is an error that says so."""
        client, _ = sides(contexts)
        client.handshake()
        with pytest.raises(SSLError, match="TLS failed: the server does not speak TLS on this port"):
            client.receive_handshake(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    def test_the_client_certificate_is_shown(self, certificates: Certificates):
        """A client that has a certificate shows it to a server that asks."""
        server_context = certificates.server_context()
        server_context.verify_mode = ssl.CERT_REQUIRED
        server_context.load_verify_locations(certificates.authority)
        client_context = certificates.client_context()
        client_context.load_cert_chain(Path(certificates.client))
        client, server = sides((client_context, server_context))
        shake_hands(client, server)
        shown = server.object.getpeercert()
        assert shown is not None
        assert ("email", "client@aioreq.example") in shown["subjectAltName"]
