"""Fixtures for the whole suite: real servers, and the parsers that real servers read forms with."""

pytest_plugins = ["tests.servers.fixtures", "tests.parsers.fixtures", "aioreq.testing.pytest_plugin"]
