"""S3: presigned PUT and presigned POST, signed by botocore, against moto's server."""

import asyncio
import hashlib
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from aioreq.bulk import Digest, Upload, bulk_upload

from .conftest import MakeFiles, all_of

pytest.importorskip("botocore")
pytest.importorskip("moto")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # botocore's and moto's own
    pytest.mark.slow,
]

BUCKET = "bucket"


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of moto's server, with an empty bucket."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import botocore.session
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        client = botocore.session.get_session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=f"http://{host}:{port}",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        client.create_bucket(Bucket=BUCKET)
        yield client
        client.close()
        server.stop()


def stored(s3: Any, key: str) -> bytes:
    content: bytes = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return content


async def test_presigned_put(s3: Any, make_files: MakeFiles):
    """Each file goes to its own presigned URL, and the ETag is its MD5."""
    files = make_files(30, size=5000) + make_files(2, size=1_000_000, folder="large")

    async def url(item: Upload) -> str:
        # Signing is work, and some ask another service for it.
        return await asyncio.to_thread(
            s3.generate_presigned_url, "put_object", {"Bucket": BUCKET, "Key": f"put/{item.label}"}
        )

    digest = Digest("md5", verify=lambda response: response.headers.get("ETag"))
    results = await all_of(bulk_upload(url, files, method="PUT", digest=digest))
    assert [result.problem for result in results if not result.ok] == []
    for path in files:
        assert stored(s3, f"put/{path}") == path.read_bytes()


async def test_presigned_post(s3: Any, make_files: MakeFiles):
    """Each file goes into a form with the fields that were signed for it."""
    files = make_files(10, size=5000) + make_files(1, size=1_000_000, folder="large")

    def items() -> Iterator[Upload]:
        for path in files:
            signed = s3.generate_presigned_post(BUCKET, f"post/{path.parent.name}/{path.name}")
            yield Upload(path, url=signed["url"], data=signed["fields"])

    results = await all_of(bulk_upload(None, items()))
    assert {result.status for result in results} == {204}
    for path in files:
        assert hashlib.sha256(stored(s3, f"post/{path.parent.name}/{path.name}")).digest() == (
            hashlib.sha256(path.read_bytes()).digest()
        )
