"""An answer that comes before the body is out is never lost, whatever the server does behind it."""

import asyncio
import itertools
import os

import pytest

import aioreq
from aioreq.testing import faults

from .bodies import KIB, MIB, Kind, Supply
from .conftest import Serve

RUNS = 100
AT_ONCE = 20
STATUSES = (413, 401, 307, 500)
ENDINGS = ("close", "reset", "hold", "linger", "go_on")


def refuses(ending: str) -> dict:
    return {
        f"/{status}": faults.early_answer(status, after=64 * KIB, then=ending, headers=(("Location", "/"),))
        for status in STATUSES
    } | {"/": faults.ok()}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_early_refusal_is_the_answer(
    usual_kind: Kind, ending: str, serve: Serve, session: aioreq.Session, supply: Supply
) -> None:
    """A 413, 401, 307 or 500 in mid-upload is returned, a hundred times in a hundred, and `upload` has the account."""
    if usual_kind.name == "path":
        os.truncate(supply.path, 64 * MIB)  # most of it is a hole, which costs nothing
    server = serve(refuses(ending))
    numbers = itertools.count()

    async def upload_some() -> None:
        for number in itertools.takewhile(lambda number: number < RUNS, numbers):
            status, token = STATUSES[number % len(STATUSES)], f"token-{number}"
            arguments = usual_kind.arguments(supply)
            arguments["headers"] = arguments.get("headers", {}) | {"X-Token": token}
            response = await session.post(f"{server.url}/{status}", allow_redirects=False, **arguments)
            report, upload = response.json(), response.upload
            assert (response.status_code, report["token"]) == (status, token)
            assert report["received"] <= upload.sent <= upload.total
            assert upload.complete == (upload.sent == upload.total)
            assert not upload.complete or ending in ("linger", "go_on")

    await asyncio.gather(*(upload_some() for _ in range(AT_ONCE)))
    assert len(server.requests) == RUNS
    assert (await session.get(server.url)).status_code == 200
