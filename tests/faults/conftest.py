"""A stack for the fault matrix, and the table that `make faults` ends with."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from imex.testing.network import Network
from imex.testing.outcomes import Outcomes
from imex.testing.stack import LocalStack, running_stack

TIMEOUT_S = 600


_OUTCOMES = pytest.StashKey[Outcomes]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_OUTCOMES] = Outcomes()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


def pytest_terminal_summary(config: pytest.Config) -> None:
    rows = config.stash[_OUTCOMES].rows
    if not rows:
        return
    table = Table(title="Fault matrix", title_justify="left")
    for title in (
        "part",
        "fault",
        "acknowledged",
        "delivered",
        "sent again",
        "back after",
        "all there after",
    ):
        table.add_column(title, justify="left" if title in ("part", "fault") else "right")
    for row in rows:
        counts = (str(row.acknowledged), str(row.delivered), str(row.sent_again))
        table.add_row(row.part, row.fault, *counts, f"{row.back_s:.1f} s", f"{row.whole_s:.1f} s")
    Console(width=100).print(table)


@pytest.fixture
def outcomes(request: pytest.FixtureRequest) -> Outcomes:
    return request.config.stash[_OUTCOMES]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with running_stack(tmp_path_factory.mktemp("stack") / "home") as running:
        yield running


@pytest.fixture(scope="session")
def network(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Network:
    return Network(stack, tmp_path_factory.mktemp("network"))
