"""Secrets, ports, downloads and files of a home."""

import json
import socket
import threading
from pathlib import Path

import pytest

from imex.local import kafka, ports, secrets
from imex.local.cache import PartUnavailable, cached, run_shown
from imex.local.demo_times import where_the_time_went
from imex.local.home import Home


def test_secrets_are_made_once_and_are_private(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"

    made = secrets.load_or_make(path)

    assert secrets.load_or_make(path) == made
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_two_secrets_are_alike(tmp_path: Path) -> None:
    made = secrets.load_or_make(tmp_path / "secrets.json")
    words = [*made.kafka.values(), *made.database.values(), *(user.secret_key for user in made.s3.values())]

    assert len({*words, made.portal_secret, made.admin_token}) == len(words) + 2


def test_free_ports_are_below_the_range_of_outgoing_connections() -> None:
    found = ports.free_ports(20)

    assert len(set(found)) == 20
    assert all(port < 32_768 for port in found)


def test_a_port_kept_from_the_last_start_is_given_up_when_another_program_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        (idle,) = ports.free_ports(1)

        chosen = ports.free(["a", "b"], {"a": taken, "b": idle})

    assert chosen["a"] != taken
    assert chosen["b"] == idle


def test_the_default_home_says_which_fixed_port_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        monkeypatch.setattr(ports, "FIXED", {"portal": taken})

        with pytest.raises(ports.PortsTaken, match=rf"{taken} \(portal\).*IMEX_PORTS=auto"):
            ports.fixed()


def test_a_download_is_made_once_also_when_two_want_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    built: list[Path] = []

    def build(target: Path) -> None:
        built.append(target)
        target.write_text("whole")

    threads = [threading.Thread(target=cached, args=("part/thing", build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(built) == 1
    assert (tmp_path / "imex" / "part" / "thing").read_text() == "whole"


def test_a_download_that_breaks_off_leaves_nothing_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def build(target: Path) -> None:
        target.write_text("half")
        raise PartUnavailable("the network went away")

    with pytest.raises(PartUnavailable):
        cached("thing", build)

    assert not (tmp_path / "imex" / "thing").exists()


def test_a_failed_command_says_what_it_said() -> None:
    with pytest.raises(PartUnavailable, match="no such mirror"):
        run_shown("fetching", ["sh", "-c", "echo no such mirror; exit 4"])


def test_stack_json_is_changed_whole_and_private(tmp_path: Path) -> None:
    home = Home(tmp_path, default=False)

    home.update_stack(lambda stack: stack.update({"portal": "http://127.0.0.1:1"}))
    home.update_stack(lambda stack: stack.update({"api": "http://127.0.0.1:1/api/v1"}))

    assert json.loads(home.stack_file.read_text()).keys() == {"portal", "api"}
    assert home.stack_file.stat().st_mode & 0o777 == 0o600


def test_the_broker_denies_what_no_rule_allows(tmp_path: Path) -> None:
    users = {"admin": "a" * 20}
    text = kafka.server_properties(kafka.KafkaConfig(tmp_path, tmp_path / "log", 1, 2, users))

    assert "allow.everyone.if.no.acl.found=false" in text
    assert "super.users=User:admin" in text
    assert "listeners=CLIENT://127.0.0.1:1,CONTROLLER://127.0.0.1:2" in text


def test_hops_are_told_from_the_first_row_of_each_step() -> None:
    steps = [
        {"step": "received", "at": "2026-04-01T10:00:00+00:00"},
        {"step": "completed", "at": "2026-04-01T10:00:05.500000+00:00"},
        {"step": "delivered", "at": "2026-04-01T10:00:06+00:00"},
        {"step": "delivered", "at": "2026-04-01T11:00:00+00:00"},
    ]
    (closed,) = ports.free_ports(1)

    lines = list(where_the_time_went(f"http://127.0.0.1:{closed}", steps, {"trace_id": "0" * 32}))

    assert any("5.50 s" in line for line in lines)
    assert any("6.00 s  all of it" in line for line in lines)
