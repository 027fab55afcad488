"""Receipts: what the destination confirmed, in one canonical form, signed.

The document is put into RFC 8785 (JCS) form; the signature is a compact JWS (RFC 7515) over exactly these
bytes with Ed25519 (RFC 8037, RFC 9864). Its header carries the public key and, as `kid`, the key's RFC 7638
thumbprint: whoever relies on a receipt compares the `kid` with the one that was published.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws
from joserfc.jwk import OKPKey

from imex.delivery.changing.facts import RE_IDENTIFIED
from imex.receipts.signature import ALGORITHM, TYPE, digest_of


@dataclass(frozen=True, slots=True)
class Line:
    """One instance and what became of it; it has no digest where it never left quarantine."""

    sop_instance_uid: str
    digest: str | None
    status: str
    reason: str
    at: datetime | None
    confirmed_by: str = ""
    """answer | query | commitment; empty where nothing confirmed it."""
    delivered_digest: str | None = None
    """Of what was sent, where that is not what is stored."""
    changes: tuple[str, ...] = ()
    """What was changed on the way out, in words."""
    sent_to: Mapping[str, str] | None = None
    """Endpoint and AE title, where it did not go to the receipt's destination."""


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """A receipt without its signature, the signature, and the digest of the canonical form."""

    document: dict[str, Any]
    signature: str
    digest: str


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a delivery went."""

    recipient: str
    endpoint: str
    ae_title: str


def document_of(
    share: UUID, revision: int, destination: Destination, lines: Sequence[Line]
) -> dict[str, Any]:
    """The receipt's document (INTERFACE §6), its instances in the order of their UIDs."""
    return {
        "share": str(share),
        "revision": revision,
        "destination": {
            "recipient": destination.recipient,
            "endpoint": destination.endpoint,
            "ae_title": destination.ae_title,
        },
        "instances": [
            {
                "sop_instance_uid": line.sop_instance_uid,
                "digest": line.digest,
                "status": line.status,
                "reason": line.reason,
                "at": _instant(line.at),
                **({"confirmed_by": line.confirmed_by} if line.confirmed_by else {}),
                **_changed(line),
                **({"sent_to": dict(line.sent_to)} if line.sent_to else {}),
            }
            for line in sorted(lines, key=lambda line: (line.sop_instance_uid, line.status))
        ],
        "complete": all(line.status == "confirmed" for line in lines),
    }


def _changed(line: Line) -> dict[str, Any]:
    """Said only where what was sent is not what is stored, beside the other fields.

    Of what was re-identified there is no digest: who returned it knows all of it but the patient, and could
    find out by trying.
    """
    if line.delivered_digest is None:
        return {}
    told: dict[str, Any] = {"changes": list(line.changes)}
    if not any(words.startswith(RE_IDENTIFIED) for words in line.changes):
        told["delivered_digest"] = line.delivered_digest
    return told


def _instant(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None


class Signer:
    """Signs receipts with one Ed25519 key."""

    def __init__(self, seed: bytes) -> None:
        """`seed` is the 32-byte private key of RFC 8032."""
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        self._key = OKPKey.import_key(
            {"kty": "OKP", "crv": "Ed25519", "x": _base64url(public), "d": _base64url(seed)}
        )
        self.public_jwk: dict[str, Any] = dict(self._key.as_dict(private=False))
        self.kid: str = self._key.thumbprint()

    def sign(self, document: dict[str, Any]) -> SignedReceipt:
        """The receipt of `document`. Its cost grows with the number of instances: use a thread."""
        canonical = rfc8785.dumps(document)
        header = {"alg": ALGORITHM, "typ": TYPE, "kid": self.kid, "jwk": self.public_jwk}
        signature = jws.serialize_compact(header, canonical, self._key, algorithms=[ALGORITHM])
        return SignedReceipt(document, signature, digest_of(canonical))


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
