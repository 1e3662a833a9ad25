"""Fixtures for the whole suite: real servers, and the parsers that real servers read forms with."""

import os

pytest_plugins = ["tests.servers.fixtures", "tests.parsers.fixtures", "aioreq.testing.pytest_plugin"]

# Sessions go by the environment's proxies; the suite's own traffic must not.
for _name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[_name]
