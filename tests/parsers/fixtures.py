"""Each parser in turn, for tests that any of them must pass."""

from collections.abc import Iterator

import pytest

from . import PARSERS, Parser


@pytest.fixture(scope="session", params=PARSERS.values(), ids=list(PARSERS))
def parser(request: pytest.FixtureRequest) -> Iterator[Parser]:
    """A parser ready to parse: the test runs once for each."""
    parser: Parser = request.param
    with parser.opened():
        yield parser
