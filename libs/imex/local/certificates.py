"""The certificates of a local stack: its own CA, ingest's, and one for every institution that sends.

They stay what they are until they are close to their end, so that what a sender was given keeps working.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from imex.directory.certificates import institution_uri
from imex.local.process import write_private

_CA_DAYS = 3650
_LEAF_DAYS = 397
_RENEW_DAYS = 60
_HOSTS: tuple[x509.GeneralName, ...] = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
)
_EITHER_END = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
"""A PACS both sends and receives, and so does Imex."""


@dataclass(frozen=True)
class Pair:
    """Files in PEM: a certificate and its private key."""

    certificate: Path
    key: Path


class Certificates:
    """A certification authority of its own in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def ca(self) -> Path:
        """The CA's certificate; made at the first call of another method."""
        return self._folder / "ca.pem"

    def server(self, days: float = _LEAF_DAYS) -> Pair:
        """The certificate that ingest shows, for this machine's loopback names."""
        return self._pair("server", "Imex", _HOSTS, days)

    def client(self, code: str, days: float = _LEAF_DAYS) -> Pair:
        """The certificate with which an institution sends: its code is in the subject and in a SAN URI."""
        names = (x509.UniformResourceIdentifier(institution_uri(code)), *_HOSTS)
        return self._pair(f"client-{code}", code, names, days)

    def clients(self, codes: Iterable[str]) -> dict[str, Pair]:
        """A certificate for each of these institutions."""
        return {code: self.client(code) for code in codes}

    def _pair(
        self,
        name: str,
        subject: str,
        names: Sequence[x509.GeneralName],
        days: float,
    ) -> Pair:
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        authority, signer = self._authority()
        if _lasts(pair.certificate, _RENEW_DAYS) and _issued_by(pair.certificate, authority):
            return pair
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(subject, authority.subject, key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(_EITHER_END), critical=False)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
            )
            .sign(signer, hashes.SHA256())
        )
        _write(pair, key, certificate)
        return pair

    def _authority(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        pair = Pair(self.ca, self._folder / "ca.key")
        if _lasts(pair.certificate, _RENEW_DAYS):
            loaded = serialization.load_pem_private_key(pair.key.read_bytes(), None)
            assert isinstance(loaded, ec.EllipticCurvePrivateKey)
            return x509.load_pem_x509_certificate(pair.certificate.read_bytes()), loaded
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Imex local stack")])
        certificate = (
            _builder("Imex local stack", subject, key.public_key(), _CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        _write(pair, key, certificate)
        return certificate, key


def _builder(
    subject: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: float
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    end = now + datetime.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, end) - datetime.timedelta(hours=1))
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _lasts(certificate: Path, days: float) -> bool:
    """Whether there is a certificate that is good for so many days."""
    if not certificate.exists():
        return False
    ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    return ends - datetime.datetime.now(datetime.UTC) > datetime.timedelta(days=days)


def _issued_by(certificate: Path, authority: x509.Certificate) -> bool:
    try:
        x509.load_pem_x509_certificate(certificate.read_bytes()).verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001  whatever is wrong with it, it is made anew
        return False
    return True


def _write(pair: Pair, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_private(pair.key, private.decode())
    write_private(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM).decode())
