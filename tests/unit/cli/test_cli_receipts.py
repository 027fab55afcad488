"""A receipt is checked without a stack: its signature, its key, and files against it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from imex.delivery.receipt import Destination, Line, Signer, document_of
from imex.testing.dicom import SyntheticStudy, synthetic_study

SEED = bytes(range(32))


@pytest.fixture
def study() -> SyntheticStudy:
    return synthetic_study(3, size=32)


@pytest.fixture
def receipt(tmp_path: Path, study: SyntheticStudy) -> Path:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    lines = [Line(one.sop_instance_uid, one.digest, "confirmed", "", at) for one in study.instances]
    lines.append(Line("1.2.9", None, "held", "NHS number is wrong", at))
    signed = Signer(SEED).sign(document_of(uuid4(), 2, Destination("RT3", "pacs", "RT3_PACS"), lines))
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps({**signed.document, "signature": signed.signature}))
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    other = Signer(bytes(32)).public_jwk
    path.write_text(json.dumps({"keys": [other, Signer(SEED).public_jwk]}))
    return path


def test_a_receipt_holds_with_the_published_key(run: Any, receipt: Path, key: Path) -> None:
    result = run("receipts", "verify", str(receipt), "--key", str(key), "--json")
    assert result.code == 0, result.err
    assert result.json["signature"] == "holds"
    assert result.json["instances"] == {"confirmed": 3, "held": 1}
    assert result.json["key"] == Signer(SEED).kid
    pem = key.with_suffix(".pem")
    public = Ed25519PrivateKey.from_private_bytes(SEED).public_key()
    pem.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert run("receipts", "verify", str(receipt), "--key", str(pem)).code == 0


def test_keys_are_fetched_from_where_they_are_published(run: Any, api: Any, receipt: Path) -> None:
    api.on("GET", "/keys", api.reply({"keys": [Signer(SEED).public_jwk]}))
    assert run("receipts", "verify", str(receipt), "--jwks", f"{api.base}/keys").code == 0
    assert "authorization" not in api.asked[-1].headers


@pytest.mark.parametrize("change", ["status", "destination", "complete", "signature", "instance"])
def test_nothing_in_a_receipt_can_be_changed(run: Any, receipt: Path, key: Path, change: str) -> None:
    told = json.loads(receipt.read_text())
    match change:
        case "status":
            next(one for one in told["instances"] if one["status"] == "held")["status"] = "confirmed"
        case "destination":
            told["destination"]["endpoint"] = "elsewhere"
        case "complete":
            told["complete"] = True
        case "signature":
            told["signature"] = Signer(bytes(32)).sign({"a": 1}).signature
        case _:
            told["instances"].pop()
    receipt.write_text(json.dumps(told))
    result = run("receipts", "verify", str(receipt), "--key", str(key))
    assert result.code == 1
    assert "does not hold" in result.err


def test_the_key_inside_a_receipt_proves_nothing(run: Any, receipt: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps(Signer(bytes(32)).public_jwk))
    result = run("receipts", "verify", str(receipt), "--key", str(other))
    assert result.code == 1
    assert Signer(SEED).kid in result.err, "which key it would be"
    assert "--key" in run("receipts", "verify", str(receipt)).err


def test_files_are_the_data_sets_that_it_lists(
    run: Any, receipt: Path, key: Path, study: SyntheticStudy, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for one in study.instances:
        (folder / one.sop_instance_uid).write_bytes(one.file())
    (folder / "notes.txt").write_text("no DICOM")
    ask = ("receipts", "verify", str(receipt), "--key", str(key), "--files", str(folder))
    result = run(*ask, "--json")
    assert result.code == 0, result.err
    assert result.json["files"]["as_received"] == 3
    assert [Path(one).name for one in result.json["files"]["no_dicom"]] == ["notes.txt"]
    damaged = folder / study.instances[1].sop_instance_uid
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    result = run(*ask)
    assert result.code == 1
    assert study.instances[1].sop_instance_uid in result.err


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"signature": "a.b.c", "instances": []}'])
def test_what_is_no_receipt_is_said(run: Any, key: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "none.json"
    path.write_text(content)
    result = run("receipts", "verify", str(path), "--key", str(key))
    assert result.code == 1
    assert "receipt" in result.err
