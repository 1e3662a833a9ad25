"""A session whose URLs begin at httpbin."""

from collections.abc import AsyncIterator

import pytest

from aioreq import Session
from tests.servers.endpoint import Endpoint


@pytest.fixture
async def session(httpbin: Endpoint) -> AsyncIterator[Session]:
    async with Session(base_url=httpbin.url(), timeout=20) as session:
        yield session
