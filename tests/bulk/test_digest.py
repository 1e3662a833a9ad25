"""Digests: of what is sent, in the place where the server looks for it, and compared with what it says."""

import base64
import hashlib
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import aioreq
from aioreq.bulk import Digest, DigestMismatch, Upload, _loading, bulk_upload
from aioreq.bulk._delivery import Delivery
from aioreq.testing import faults

from .conftest import Bin, MakeFiles, all_of, sha256


def b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


# RFC 3720, B.4: 32 bytes of zeroes.
ZEROES, CRC32C_OF_ZEROES = bytes(32), bytes.fromhex("8a9136aa")


class TestPlaces:
    """Where a digest is sent."""

    async def test_standard_headers(self, fault_server: Any, make_files: MakeFiles):
        """A raw upload has Content-MD5 (RFC 1864) or Content-Digest (RFC 9530)."""
        [path] = make_files(1)
        server = fault_server()
        for algorithm, header, value in (
            ("md5", "Content-MD5", b64(hashlib.md5(path.read_bytes()).digest())),
            ("sha256", "Content-Digest", f"sha-256=:{b64(hashlib.sha256(path.read_bytes()).digest())}:"),
        ):
            [result] = await all_of(bulk_upload(server.url, [path], method="PUT", digest=algorithm))
            assert server.requests[-1].header(header) == value
        assert result.digest == sha256(path)

    async def test_crc32c(self, fault_server: Any):
        """CRC32C is that of RFC 3720."""
        pytest.importorskip("google_crc32c")
        server = fault_server()
        [result] = await all_of(bulk_upload(server.url, [Upload(ZEROES)], method="PUT", digest="crc32c"))
        assert result.digest == CRC32C_OF_ZEROES.hex()
        assert server.requests[0].header("Content-Digest") == f"crc32c=:{b64(CRC32C_OF_ZEROES)}:"

    async def test_a_field_of_the_form(self, new_bin: Bin, make_files: MakeFiles):
        """In a form it is a field in hexadecimal before the file, named after the algorithm."""
        [path] = make_files(1)
        await all_of(bulk_upload(new_bin.url, [path], digest="sha256", data={"a": "b"}))
        [receipt] = await new_bin.receipts()
        assert [part["name"] for part in receipt["parts"]] == ["a", "sha256", "file"]
        assert receipt["parts"][1]["value"] == receipt["parts"][2]["sha256"]

    @pytest.mark.parametrize(
        ("encoding", "encode"),
        [
            (None, b64),
            ("hex", bytes.hex),
            ("base64", b64),
            (lambda digest: f"x={digest.hex()}", lambda digest: f"x={digest.hex()}"),
        ],
    )
    async def test_a_header_of_ones_own(self, fault_server: Any, make_files: MakeFiles, encoding: Any, encode: Any):
        """Any header may carry it, in base64 unless told otherwise; then no field does."""
        server, [path] = fault_server(), make_files(1)
        digest = Digest("sha256", header="x-amz-checksum-sha256", encoding=encoding)
        await all_of(bulk_upload(server.url, [path], digest=digest))
        expected = encode(hashlib.sha256(path.read_bytes()).digest())
        assert server.requests[0].header("x-amz-checksum-sha256") == expected
        assert b'name="sha256"' not in server.requests[0].body

    async def test_a_field_of_ones_own(self, new_bin: Bin, make_files: MakeFiles):
        """Any field may carry it."""
        await all_of(bulk_upload(new_bin.url, make_files(1), digest=Digest("md5", field="check", encoding="base64")))
        [receipt] = await new_bin.receipts()
        assert receipt["parts"][0]["name"] == "check"
        assert receipt["parts"][0]["value"].endswith("==")

    @pytest.mark.parametrize("size", [0, 1000, _loading.SMALL + 1, 5_000_000])
    @pytest.mark.parametrize("source", ["path", "bytes", "file"])
    async def test_of_every_size_and_source(self, fault_server: Any, make_files: MakeFiles, size: int, source: str):
        """Files small and large, bytes, and open files have their digests."""
        server, [path] = fault_server(), make_files(1, size=size)
        with path.open("rb") as file:
            item = {"path": path, "bytes": Upload(path.read_bytes()), "file": Upload(file)}[source]
            [result] = await all_of(bulk_upload(server.url, [item], digest="sha256", field=None))
        assert result.digest == sha256(path) == server.requests[0].sha256

    async def test_what_has_none(self, fault_server: Any):
        """Of what can't be read ahead there is none to send; the result says so, and nothing is sent."""
        server = fault_server()
        [result] = await all_of(bulk_upload(server.url, [Upload(iter([b"x"]), size=1)], digest="md5"))
        assert isinstance(result.error, aioreq.InvalidBody)
        assert server.requests == []


class TestComputing:
    """How it is computed."""

    async def test_off_the_loop_and_once(
        self, fault_server: Any, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch
    ):
        """It is computed in a reader thread, once for an item, however often that is sent."""
        threads: list[str] = []
        compute = _loading._compute

        def spy(delivery: Delivery, digest: Digest) -> None:
            threads.append(threading.current_thread().name)
            compute(delivery, digest)

        monkeypatch.setattr(_loading, "_compute", spy)
        server = fault_server(faults.in_turn(faults.ok(503), faults.ok()))
        files = make_files(3, size=1_000_000)
        await all_of(bulk_upload(server.url, files, digest="sha256", retry=aioreq.Retry(backoff=0)))
        assert len(threads) == 3
        assert all(name.startswith("aioreq-reader") for name in threads)
        assert len({request.sha256 for request in server.requests}) == 4  # a new boundary each time

    def test_a_large_file_has_a_hop_of_its_own(self, make_files: MakeFiles):
        """Small files don't wait for a large one's digest."""
        small, after = make_files(2, size=100)
        [large] = make_files(1, size=1_000_000, folder="large")
        deliveries = [Delivery(Upload(path), None, None) for path in (small, large, after)]
        _loading.load(deliveries, Digest("md5"))
        assert [delivery.ready for delivery in deliveries] == [True, False, False]
        _loading.load(deliveries[1:], Digest("md5"))
        assert [delivery.ready for delivery in deliveries] == [True, True, True]

    async def test_it_is_in_the_journal(self, fault_server: Any, make_files: MakeFiles, tmp_path: Path):
        """What was done in an earlier run has its digest from there."""
        server, [path] = fault_server(), make_files(1)
        for _ in range(2):
            [result] = await all_of(bulk_upload(server.url, [path], digest="sha256", journal=tmp_path / "job.db"))
        assert (result.skipped, result.digest) == (True, sha256(path))


class TestComparing:
    """What the server says it got."""

    @pytest.mark.parametrize("form", ['"{hex}"', "{HEX}", 'W/"{hex}"', "{base64}"])
    async def test_it_agrees(self, fault_server: Any, form: str):
        """An answer may have it in hex or base64, with or without quotes."""
        digest = hashlib.md5(b"content").digest()
        etag = form.format(hex=digest.hex(), HEX=digest.hex().upper(), base64=b64(digest))
        server = fault_server(faults.ok(200, (("ETag", etag),)))
        check = Digest("md5", verify=lambda response: response.headers.get("ETag"))
        [result] = await all_of(bulk_upload(server.url, [Upload(b"content")], digest=check))
        assert result.ok

    async def test_it_does_not(self, fault_server: Any):
        """An upload that arrived as something else has failed, whatever the status; it is not tried again."""
        server = fault_server(faults.ok(200, (("ETag", '"other"'),)))
        check = Digest("md5", verify=lambda response: response.headers.get("ETag"))
        [result] = await all_of(bulk_upload(server.url, [Upload(b"content")], digest=check))
        assert (result.ok, result.status, result.attempts) == (False, 200, 1)
        assert isinstance(result.error, DigestMismatch)
        assert (result.error.expected, result.error.seen) == (hashlib.md5(b"content").hexdigest(), '"other"')

    async def test_it_does_not_say(self, fault_server: Any):
        """None from verify= means that the server does not say; errors are not looked at."""
        server = fault_server(faults.in_turn(faults.ok(200), faults.ok(400)))
        check = Digest("md5", verify=lambda response: None if response.ok else "x")
        results = await all_of(bulk_upload(server.url, [Upload(b"a"), Upload(b"b")], digest=check, concurrency=1))
        assert [(result.status, result.error) for result in results] == [(200, None), (400, None)]

    async def test_the_bins_receipt(self, new_bin: Bin, make_files: MakeFiles):
        """A function of the answer may look anywhere."""
        check = Digest("sha256", verify=lambda response: response.json()["parts"][-1]["sha256"])
        results = await all_of(bulk_upload(new_bin.url, make_files(20), digest=check))
        assert all(result.ok for result in results)


class TestArguments:
    """What is no digest."""

    def test_unknown_algorithms(self):
        """Only three are known."""
        with pytest.raises(ValueError, match="sha256, md5, crc32c"):
            bulk_upload("http://example.org/", [], digest="sha1")  # type: ignore[arg-type]

    def test_without_the_extra(self, monkeypatch: pytest.MonkeyPatch):
        """Without google-crc32c the message names the extra, before anything is sent."""
        monkeypatch.setitem(sys.modules, "google_crc32c", None)
        with pytest.raises(aioreq.ExtraRequired, match=r"aioreq\[crc32c\]"):
            Digest("crc32c")
