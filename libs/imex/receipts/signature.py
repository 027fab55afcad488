"""The signature of a receipt, and checking it with a key that was published.

The document is put into RFC 8785 (JCS) form; the signature is a compact JWS (RFC 7515) over exactly these
bytes with Ed25519 (RFC 8037, RFC 9864). Its header names the key by its RFC 7638 thumbprint (`kid`).
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import rfc8785
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

ALGORITHM: Final = "Ed25519"  # RFC 9864, which deprecates the ambiguous EdDSA
TYPE: Final = "imex-receipt+jws"


class ReceiptForged(Exception):
    """The signature is not of this key, or is over another document."""


class KeyUnknown(Exception):
    """None of the keys at hand is the one that the receipt names."""


def verify(document: Mapping[str, Any], signature: str, public_jwk: Mapping[str, Any]) -> None:
    """Check that `signature` is of this key and over this document.

    Raises:
        ReceiptForged: it is not.
    """
    key = OKPKey.import_key(dict(public_jwk))
    try:
        signed = jws.deserialize_compact(signature, key, algorithms=[ALGORITHM])
    except (JoseError, ValueError) as error:
        raise ReceiptForged(f"the signature does not hold: {type(error).__name__}") from None
    if signed.payload != rfc8785.dumps(dict(document)):
        raise ReceiptForged("the signature is over another document")


def key_id(signature: str) -> str:
    """The `kid` that a signature names; not checked yet.

    Raises:
        ReceiptForged: it is no JWS.
    """
    try:
        headers = jws.extract_compact(signature.encode()).headers()
    except (JoseError, ValueError) as error:
        raise ReceiptForged(f"the signature cannot be read: {type(error).__name__}") from None
    return str(headers.get("kid", ""))


def key_of(signature: str, keys: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The key that a signature names, of those that are trusted.

    What the signature itself carries as its key is no proof of anything, and is not looked at.

    Raises:
        ReceiptForged: it is no JWS.
        KeyUnknown: it names another one.
    """
    wanted = key_id(signature)
    known = []
    for one in keys:
        key = OKPKey.import_key(dict(one))
        if key.thumbprint() == wanted:
            return dict(key.as_dict(private=False))
        known.append(key.thumbprint())
    raise KeyUnknown(
        f"the receipt is signed with key {wanted or '(none named)'}; at hand: {', '.join(known) or 'none'}"
    )


def digest_of(canonical: bytes) -> str:
    """`sha256:` and the hex digest of a receipt's canonical form."""
    return "sha256:" + hashlib.sha256(canonical).hexdigest()
