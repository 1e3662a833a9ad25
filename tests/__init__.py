"""The tests of aioreq."""
