"""Collects what each peer did, and writes the table of the documentation where it is asked to."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.table import Row, write

from imex.testing.parts import MinioPart, minio_part

_ROWS = pytest.StashKey[list[Row]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--interop-table", type=Path, help="the document whose table is written anew")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = []


@pytest.fixture
def rows(pytestconfig: pytest.Config) -> list[Row]:
    """Where a test puts its line of the table."""
    found: list[Row] = pytestconfig.stash[_ROWS]
    return found


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioPart]:
    with minio_part(tmp_path_factory.mktemp("minio")) as part:
        yield part


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A table of a run that failed would be a table of what happened to work."""
    document = session.config.getoption("--interop-table")
    found: list[Row] = session.config.stash[_ROWS]
    if document is not None and exitstatus == 0:
        write(document, found)
