"""Fakes, factories, contract suites and real parts for tests."""
