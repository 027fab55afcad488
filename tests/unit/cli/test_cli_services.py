"""`imex <service> --check-config`: the effective settings without secrets, or what is wrong with them."""

import subprocess
import sys
import time
from typing import Any

import pytest

GOOD = {
    "IMEX_KAFKA_BOOTSTRAP": "127.0.0.1:9092",
    "IMEX_KAFKA_PASSWORD": "kafka-secret",
    "IMEX_DB_URL": "postgresql://imex_audit:db-secret@127.0.0.1/imex",
    "IMEX_HTTP_PORT": "0",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("IMEX_")]:
        monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def test_effective_settings_are_printed_without_secrets(run: Any) -> None:
    result = run("audit", "--check-config")
    assert result.code == 0, result.err
    assert result.json["kafka"]["bootstrap"] == "127.0.0.1:9092"
    assert "secret" not in result.out


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("IMEX_HTTP_PORT", "many", "IMEX_HTTP_PORT: Input should be a valid integer"),
        ("IMEX_DB_URL", "mysql://u:db-secret@h/x", "IMEX_DB_URL:"),
        ("IMEX_TRACES_EXPORTER", "paper", "'none', 'zipkin' or 'otlp'"),
    ],
)
def test_a_wrong_setting_is_named_with_its_problem(
    run: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    result = run("audit", "--check-config")
    assert result.code == 2
    assert words in result.err
    assert "secret" not in result.err


def test_every_missing_setting_is_named_at_once(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMEX_HTTP_PORT")
    monkeypatch.delenv("IMEX_KAFKA_BOOTSTRAP")
    result = run("audit", "--check-config")
    assert result.code == 2
    assert "IMEX_KAFKA_BOOTSTRAP is missing" in result.err
    assert "IMEX_HTTP_PORT is missing" in result.err


def test_a_service_with_settings_of_its_own_kind_is_looked_at_too(run: Any) -> None:
    result = run("delivery", "--check-config")
    assert result.code == 2
    assert "IMEX_S3_ENDPOINT is missing" in result.err
    assert "IMEX_DELIVERY_SIGNING_KEY is missing" in result.err


def test_a_service_does_not_start_with_wrong_settings(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMEX_DB_URL")
    assert run("audit").code == 2


def test_help_imports_nothing_heavy() -> None:
    heavy = ("pydicom", "httpx2", "pydantic", "rich", "sqlalchemy", "imex.directory")
    code = f"import sys, imex.cli.main as m; m.build(); print([n for n in {heavy!r} if n in sys.modules])"
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert time.monotonic() - started < 10
