"""Fixtures for every kind of test: real parts start when a test first asks for one."""

pytest_plugins = ("imex.testing.kafka", "imex.testing.postgres")
