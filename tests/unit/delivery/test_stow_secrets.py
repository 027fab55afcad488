"""Client secrets by name: from the settings, or from files that may change."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from imex.delivery.targets.dicomweb.secrets import held_secrets


def test_settings_come_before_files(tmp_path: Path) -> None:
    (tmp_path / "rt3").write_text("from a file\n")
    assert held_secrets({"rt3": SecretStr("given")}, tmp_path)("rt3") == "given"
    assert held_secrets({}, tmp_path)("rt3") == "from a file"
    assert held_secrets({}, None)("rt3") is None


def test_a_file_that_was_exchanged_needs_no_restart(tmp_path: Path) -> None:
    secret = held_secrets({}, tmp_path)
    assert secret("rt3") is None
    for content in ("one", "two"):
        (tmp_path / "rt3").write_text(content)
        assert secret("rt3") == content


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", ".hidden", "folder", "none", "a/b"])
def test_a_name_leads_to_no_other_file(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "secrets"
    (folder / "folder").mkdir(parents=True)
    (folder / ".hidden").write_text("x")
    (tmp_path / "outside").write_text("x")
    assert held_secrets({}, folder)(name) is None


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe"])
def test_a_file_without_a_secret_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rt3").write_bytes(content)
    assert held_secrets({}, tmp_path)("rt3") is None


def test_of_a_file_that_is_too_long_the_rest_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "rt3").write_bytes(b"a" * 100_000)
    assert len(held_secrets({}, tmp_path)("rt3") or "") == 16_384
