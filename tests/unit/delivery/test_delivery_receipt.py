"""Receipts: their form, their signature, and what a forger cannot do."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import OKPKey

from imex.delivery.receipt import Destination, Line, Signer, document_of
from imex.receipts.signature import ReceiptForged, digest_of, verify

SHARE = UUID("5b1c2f9e-0000-5000-8000-000000000001")
AT = datetime(2026, 4, 1, 13, 0, 0, 123456, tzinfo=timezone(timedelta(hours=1)))
DESTINATION = Destination("RT3", "pacs", "RT3_PACS")
SIGNER = Signer(bytes(range(32)))
LINES = [
    Line("1.2.9", "sha256:bb", "failed", "refused by the destination: A900", AT),
    Line("1.2.10", "sha256:aa", "confirmed", "", AT),
]


def document(lines: list[Line] = LINES) -> dict[str, Any]:
    return document_of(SHARE, 1, DESTINATION, lines)


def test_the_document_has_the_form_of_the_interface() -> None:
    assert document() == {
        "share": str(SHARE),
        "revision": 1,
        "destination": {"recipient": "RT3", "endpoint": "pacs", "ae_title": "RT3_PACS"},
        "instances": [
            {
                "sop_instance_uid": "1.2.10", "digest": "sha256:aa", "status": "confirmed",
                "reason": "", "at": "2026-04-01T12:00:00.123Z",
            },
            {
                "sop_instance_uid": "1.2.9", "digest": "sha256:bb", "status": "failed",
                "reason": "refused by the destination: A900", "at": "2026-04-01T12:00:00.123Z",
            },
        ],
        "complete": False,
    }  # fmt: skip


def test_it_is_complete_when_everything_is_confirmed() -> None:
    assert document(LINES[1:])["complete"] is True


def test_the_signature_is_a_jws_over_the_canonical_form() -> None:
    receipt = SIGNER.sign(document())
    signed = jws.deserialize_compact(
        receipt.signature, OKPKey.import_key(SIGNER.public_jwk), algorithms=["Ed25519"]
    )
    assert signed.payload == rfc8785.dumps(document())
    assert receipt.digest == digest_of(signed.payload)
    assert signed.headers()["kid"] == SIGNER.kid
    assert "d" not in SIGNER.public_jwk
    verify(receipt.document, receipt.signature, SIGNER.public_jwk)


def test_it_survives_a_journey_through_json() -> None:
    receipt = SIGNER.sign(document())
    verify(json.loads(json.dumps(receipt.document)), receipt.signature, SIGNER.public_jwk)


def test_another_document_or_key_is_noticed() -> None:
    receipt = SIGNER.sign(document())
    with pytest.raises(ReceiptForged, match="another document"):
        verify(document() | {"complete": True}, receipt.signature, SIGNER.public_jwk)
    with pytest.raises(ReceiptForged, match="does not hold"):
        verify(receipt.document, receipt.signature, Signer(bytes(32)).public_jwk)


@given(st.text(max_size=60))
def test_a_signature_that_is_none_is_noticed(signature: str) -> None:
    with pytest.raises(ReceiptForged):
        verify(document(), signature, SIGNER.public_jwk)
