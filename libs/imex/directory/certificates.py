"""Which institution a TLS client certificate speaks for. Pure.

A sender's `certificate` in the directory is one of
- `sha256:` and the hex digits of the SHA-256 of the certificate's DER form: this very certificate;
- `dns:` or `uri:` and a subject alternative name (RFC 5280 4.2.1.6) of that type;
- anything else: the common name of the subject.

A sender that names none is spoken for by a certificate with the SAN URI `urn:imex:institution:<code>`.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

URI_PREFIX: Final = "urn:imex:institution:"
_UNREADABLE: Final = (
    ValueError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class CertificateUnreadable(ValueError):
    """The bytes are no certificate whose names can be read."""


def institution_uri(code: str) -> str:
    """The SAN URI by which a certificate speaks for an institution without being named in the directory."""
    return URI_PREFIX + code


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What of a certificate identifies somebody, and when it ends. `fingerprint` is the SHA-256 in hex."""

    fingerprint: str
    common_names: frozenset[str] = frozenset()
    dns_names: frozenset[str] = frozenset()
    uris: frozenset[str] = frozenset()
    ends: datetime | None = None

    def is_named(self, certificate: str) -> bool:
        """Whether a sender's `certificate` means this one."""
        kind, _, value = certificate.partition(":")
        match kind:
            case "sha256":
                return value == self.fingerprint
            case "dns":
                return value in self.dns_names
            case "uri":
                return value in self.uris
            case _:
                return certificate in self.common_names

    def speaks_for(self, code: str) -> bool:
        """Whether it names the institution itself."""
        return institution_uri(code) in self.uris


def facts_of(der: bytes) -> CertificateFacts:
    """Read a certificate in DER. Raises CertificateUnreadable."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        common_names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        names = _alternative_names(certificate)
    except _UNREADABLE as error:
        raise CertificateUnreadable("the certificate cannot be read") from error
    return CertificateFacts(
        hashlib.sha256(der).hexdigest(),
        frozenset(str(name.value) for name in common_names),
        frozenset(name.lower() for name in names.get_values_for_type(x509.DNSName)) if names else frozenset(),
        frozenset(names.get_values_for_type(x509.UniformResourceIdentifier)) if names else frozenset(),
        certificate.not_valid_after_utc,
    )


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def normal_form(certificate: str) -> str:
    """A sender's `certificate` as it is kept. Raises ValueError in words."""
    kind, colon, value = certificate.strip().partition(":")
    if not colon or kind.casefold() not in {"sha256", "dns", "uri"}:
        return certificate.strip()
    kind, value = kind.casefold(), value.strip()
    if kind == "sha256":
        value = value.replace(":", "").lower()
        if not _FINGERPRINT.fullmatch(value):
            raise ValueError("sha256: must be followed by the 64 hex digits of the SHA-256 of the DER form")
    elif not value:
        raise ValueError(f"{kind}: must be followed by a subject alternative name")
    elif kind == "dns":
        value = value.lower()
    return f"{kind}:{value}"
