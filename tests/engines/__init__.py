"""Tests of the engines: a package, so that pytest imports from tests/ and `fake_engine` is found."""
