"""One whole stack for the end-to-end tests; each test has institutions of its own on it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imex.testing.network import Institution, Network
from imex.testing.peers import StoreScp
from imex.testing.stack import LocalStack, running_stack

TIMEOUT_S = 300
"""For one test and, in the first one, the start of the stack."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A new stack, or the one that IMEX_TEST_HOME names, which is left running: for quick repeats."""
    if home := os.environ.get("IMEX_TEST_HOME"):
        yield LocalStack(Path(home))
        return
    with running_stack(tmp_path_factory.mktemp("stack") / "home") as running:
        yield running


@pytest.fixture(scope="session")
def shared_network(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Network:
    return Network(stack, tmp_path_factory.mktemp("network"))


@pytest.fixture
def network(shared_network: Network, tmp_path: Path) -> Network:
    """The stack's one directory, and a folder of the test's own."""
    return Network(shared_network.stack, tmp_path, shared_network.directory)


@pytest.fixture
def receiving(network: Network) -> Iterator[Callable[[Institution], StoreScp]]:
    """Starts a `storescp` at an institution's endpoint and stops it after the test."""
    started: list[StoreScp] = []

    def start(institution: Institution) -> StoreScp:
        receiver = network.receiver(institution)
        receiver.start()
        started.append(receiver)
        return receiver

    yield start
    for receiver in started:
        receiver.stop()
