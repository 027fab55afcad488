"""A running exchange: an endpoint is tested from the command line, against the PACS that ships with it."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from imex.testing.network import Institution, Network

Simulating = Callable[..., None]


@pytest.fixture
def simulating() -> Iterator[Simulating]:
    """Runs `imex simulate pacs` at an institution's endpoint until the test ends."""
    started: list[subprocess.Popen[str]] = []

    def start(institution: Institution, *options: str) -> None:
        arguments = ("--port", str(institution.port), "--ae-title", institution.ae_title, *options)
        process = subprocess.Popen(
            [sys.executable, "-m", "imex.cli.main", "simulate", "pacs", *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Simulated PACS: ")  # it listens

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_an_endpoint_is_tested_there_and_back(network: Network, simulating: Simulating) -> None:
    recipient = network.institution(sender=False)
    network.apply()
    down = network.stack.imex("endpoints", "test", recipient.code)
    assert down.returncode == 1
    assert re.search(r"failed +connection .* refuses connections", down.stdout), down.stdout
    assert "check the port in the directory" in down.stdout

    simulating(recipient)
    done = network.stack.imex("endpoints", "test", f"{recipient.code}/pacs", "--send", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    test = json.loads(done.stdout)
    assert test["outcome"] == "passed"
    results = {step["name"]: step["result"] for step in test["steps"]}
    assert results["test study"] == results["found again"] == "ok"
    listed = network.stack.imex("endpoints", "tests", recipient.code)
    assert "passed" in listed.stdout
    assert "failed" in listed.stdout


def test_a_wrong_ae_title_is_told_with_what_to_do(network: Network, simulating: Simulating) -> None:
    recipient = network.institution(sender=False)
    network.apply()
    simulating(recipient, "--failure", "reject-permanent")
    done = network.stack.imex("endpoints", "test", recipient.code)
    assert done.returncode == 1
    assert "called AE title not recognised" in done.stdout
    assert "correct it in the directory" in done.stdout
