"""The local stack comes up, brings back what dies, survives its supervisor, and leaves nothing behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from imex.local.secrets import SERVICES
from imex.local.strays import strays
from imex.testing.stack import LocalStack, running_stack, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300), pytest.mark.alone]

PARTS = ("postgres", "minio", "kafka", "zipkin", *SERVICES)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with running_stack(tmp_path_factory.mktemp("stack") / "home") as running:
        yield running


def test_stack_json_names_every_part_and_only_its_owner_may_read_it(stack: LocalStack) -> None:
    described = stack.described

    assert set(PARTS) == described["processes"].keys()
    assert described["api"] == f"{described['portal']}/api/v1"
    assert described["kafka_sasl"]["mechanism"] == "SCRAM-SHA-512"
    assert {"admin", "RQM", "RT3"} <= described["tokens"].keys()
    assert {"admin", "rqm-sender"} <= described["accounts"].keys()
    assert stack.home.stack_file.stat().st_mode & 0o777 == 0o600


def test_up_again_changes_nothing(stack: LocalStack) -> None:
    before = stack.described

    stack.up()

    assert stack.described == before


def test_an_applied_directory_brings_stack_json_up_to_date(stack: LocalStack, tmp_path: Path) -> None:
    file = tmp_path / "directory.yaml"
    before = stack.imex("directory", "export", str(file))
    assert before.returncode == 0, before.stderr
    document = yaml.safe_load(file.read_text())
    document["institutions"].append({"code": "R1H", "name": "Hospital C", "kind": "nhs"})
    wider = tmp_path / "wider.yaml"
    wider.write_text(yaml.safe_dump(document))

    applied = stack.imex("directory", "apply", str(wider))
    assert applied.returncode == 0, applied.stderr
    assert "R1H" in stack.described["tokens"]
    assert "r1h-viewer" in stack.described["accounts"]
    assert stack.imex("directory", "apply", str(file)).returncode == 0

    assert "R1H" not in stack.described["tokens"]
    assert "RQM" in stack.described["tokens"]


@pytest.mark.parametrize("part", PARTS)
def test_a_killed_part_is_back_within_ten_seconds(stack: LocalStack, part: str) -> None:
    gone = stack.kill(part)

    stack.wait_back(part, gone)


def test_a_new_supervisor_takes_over_what_the_killed_one_left(stack: LocalStack) -> None:
    before = stack.described["processes"]
    stack.kill_supervisor()

    stack.up()

    assert stack.described["processes"] == before
    gone = stack.kill("minio")
    stack.wait_back("minio", gone)


def test_down_finds_what_a_killed_supervisor_left(stack: LocalStack) -> None:
    stack.kill_supervisor()

    done = stack.run("down")

    assert done.returncode == 0
    wait_until(lambda: not any(strays(stack.home.root)), 5.0, "no process of the stack is left")
    assert not stack.home.stack_file.exists()
    stack.up()


def test_reset_deletes_the_home(tmp_path: Path) -> None:
    with running_stack(tmp_path / "home") as other:
        done = other.run("reset")

        assert done.returncode == 0
        assert not other.home.root.exists()
        assert not any(strays(other.home.root))
