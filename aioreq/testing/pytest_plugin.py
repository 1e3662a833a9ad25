"""The fixture `fault_server`: put `pytest_plugins = ["aioreq.testing.pytest_plugin"]` in conftest.py to have it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from aioreq.testing import FaultServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def fault_server() -> Iterator[Callable[..., FaultServer]]:
    """A factory of running servers, called as `FaultServer` is; all are stopped when the test is over."""
    with ExitStack() as servers:

        def start(*args: Any, **options: Any) -> FaultServer:
            return servers.enter_context(FaultServer(*args, **options))

        yield start
