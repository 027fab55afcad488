"""Which institution a certificate speaks for, and what the directory may say of certificates."""

import datetime
import hashlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from imex.directory import DirectoryErrors, DirectoryIndex, IdentifiedSender, UnknownSender, WhyUnknown, parse
from imex.directory.certificates import CertificateFacts, CertificateUnreadable, facts_of, normal_form
from imex.local.certificates import Certificates

PRINT = "ab" * 32
OTHER = "cd" * 32
RQM = CertificateFacts(PRINT, uris=frozenset({"urn:imex:institution:RQM"}))
RT3 = CertificateFacts(OTHER, uris=frozenset({"urn:imex:institution:RT3"}))
NAMED = CertificateFacts(
    PRINT, frozenset({"PACS of A"}), frozenset({"pacs.a.example"}), frozenset({"urn:oid:1.2.3"})
)


def index(rqm: str, rt3: str = "[{ae_title: RT3_PACS}]") -> DirectoryIndex:
    return DirectoryIndex(
        parse(
            "institutions:\n"
            f"- {{code: RQM, name: A, kind: nhs, senders: {rqm}}}\n"
            f"- {{code: RT3, name: B, kind: nhs, senders: {rt3}}}\n"
        )
    )


def outcome(
    directory: DirectoryIndex, calling_ae: str, certificate: CertificateFacts | None, host: str = "192.0.2.1"
) -> str:
    found = directory.identify_sender(calling_ae, host, certificate)
    return found.institution.code if isinstance(found, IdentifiedSender) else found.why


@pytest.mark.parametrize(
    ("senders", "certificate", "expected"),
    [
        ("[{ae_title: P}]", RQM, "RQM"),
        ("[{ae_title: P}]", NAMED, WhyUnknown.UNKNOWN_CERTIFICATE),
        (f"[{{ae_title: P, certificate: 'sha256:{PRINT}'}}]", NAMED, "RQM"),
        (f"[{{ae_title: P, certificate: 'SHA256:{':'.join(['AB'] * 32)}'}}]", NAMED, "RQM"),
        (f"[{{ae_title: P, certificate: 'sha256:{OTHER}'}}]", NAMED, WhyUnknown.UNKNOWN_CERTIFICATE),
        # one that is pinned is shown by nothing else, its institution's own name included
        (f"[{{ae_title: P, certificate: 'sha256:{OTHER}'}}]", RQM, WhyUnknown.UNKNOWN_CERTIFICATE),
        ("[{ae_title: P, certificate: 'dns:PACS.a.example'}]", NAMED, "RQM"),
        ("[{ae_title: P, certificate: 'dns:a.example'}]", NAMED, WhyUnknown.UNKNOWN_CERTIFICATE),
        ("[{ae_title: P, certificate: 'uri:urn:oid:1.2.3'}]", NAMED, "RQM"),
        ("[{ae_title: P, certificate: PACS of A}]", NAMED, "RQM"),
        ("[{ae_title: P, certificate: pacs.a.example}]", NAMED, WhyUnknown.UNKNOWN_CERTIFICATE),
        # both of two while one is being replaced
        (
            f"[{{ae_title: P, certificate: 'sha256:{OTHER}'}}, "
            f"{{ae_title: P, certificate: 'sha256:{PRINT}'}}]",
            NAMED,
            "RQM",
        ),
        # what else a sender states holds as well
        ("[{ae_title: P, networks: [10.0.0.0/8]}]", RQM, WhyUnknown.WRONG_NETWORK),
        ("[{ae_title: P, networks: [192.0.2.0/24]}]", RQM, "RQM"),
    ],
)
def test_a_sender_is_shown_by_its_certificate(
    senders: str, certificate: CertificateFacts, expected: str
) -> None:
    assert outcome(index(senders), "P", certificate) == expected


def test_the_certificate_decides_and_the_ae_title_has_to_be_its_institutions() -> None:
    directory = index("[{ae_title: P}]")
    assert outcome(directory, "P", RQM) == "RQM"
    assert outcome(directory, "RT3_PACS", RT3) == "RT3"
    found = directory.identify_sender("RT3_PACS", "192.0.2.1", RQM)
    assert isinstance(found, UnknownSender)
    assert found.why is WhyUnknown.OTHER_CERTIFICATE
    assert found.words == "calling AE title 'RT3_PACS' may not be used with the certificate of RQM"
    assert outcome(directory, "STRANGER", RQM) == WhyUnknown.UNKNOWN_AE_TITLE


def test_within_an_institution_a_certificate_shows_its_own_senders_only() -> None:
    directory = index(f"[{{ae_title: CT1, certificate: 'sha256:{PRINT}'}}, {{ae_title: PACS}}]")
    assert outcome(directory, "CT1", NAMED) == "RQM"
    assert outcome(directory, "PACS", NAMED) == WhyUnknown.OTHER_CERTIFICATE
    assert outcome(directory, "PACS", RQM) == "RQM"


def test_an_institution_that_retired_or_sends_no_more_has_a_certificate_of_nobody() -> None:
    assert outcome(index("[]"), "P", RQM) == WhyUnknown.UNKNOWN_CERTIFICATE
    gone = DirectoryIndex(parse("institutions: [{code: RX1, name: C, kind: nhs, senders: [{ae_title: P}]}]"))
    assert outcome(gone, "P", RQM) == WhyUnknown.UNKNOWN_CERTIFICATE


def test_without_a_certificate_it_is_the_ae_title_and_the_network() -> None:
    assert outcome(index(f"[{{ae_title: P, certificate: 'sha256:{PRINT}'}}]"), "P", None) == "RQM"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("sha256:abcd", "64 hex digits"),
        ("sha256:" + "zz" * 32, "64 hex digits"),
        ("dns:", "must be followed by"),
        ("uri: ", "must be followed by"),
        ("uri:urn:imex:institution:RT3", "is the certificate of RT3 too"),
    ],
)
def test_what_can_be_no_certificate_is_an_error_of_the_file(written: str, words: str) -> None:
    with pytest.raises(DirectoryErrors) as raised:
        index(f"[{{ae_title: P, certificate: '{written}'}}]")
    (error,) = raised.value.errors
    assert words in str(error)
    assert "certificate" in str(error)


def test_two_institutions_cannot_have_one_certificate_however_it_is_written() -> None:
    with pytest.raises(DirectoryErrors, match="is the certificate of RQM too"):
        index(
            f"[{{ae_title: P, certificate: 'sha256:{PRINT}'}}]",
            f"[{{ae_title: Q, certificate: 'SHA256:{PRINT.upper()}'}}]",
        )


def test_the_kept_form_is_stable() -> None:
    for written in (f"sha256:{PRINT}", "dns:a.example", "uri:urn:x", "Common: name"):
        assert normal_form(normal_form(written)) == normal_form(written)


def test_the_facts_of_a_certificate(tmp_path: Path) -> None:
    pair = Certificates(tmp_path).client("RQM")
    der = x509.load_pem_x509_certificate(pair.certificate.read_bytes()).public_bytes(
        serialization.Encoding.DER
    )
    facts = facts_of(der)
    assert facts.fingerprint == hashlib.sha256(der).hexdigest()
    assert facts.common_names == {"RQM"}
    assert facts.dns_names == {"localhost"}
    assert facts.speaks_for("RQM")
    assert not facts.speaks_for("RQ")


def test_a_certificate_without_names_has_a_fingerprint_only() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    nobody = x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "GB")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(nobody, nobody, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    facts = facts_of(made.public_bytes(serialization.Encoding.DER))
    assert (facts.common_names, facts.dns_names, facts.uris) == (frozenset(), frozenset(), frozenset())


def _with_names(names: bytes, *, twice: bool = False) -> bytes:
    """A certificate with a SAN extension of any bytes."""
    key = ec.generate_private_key(ec.SECP256R1())
    nobody = x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "GB")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder(nobody, nobody, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), names), False)
    )
    other = x509.ObjectIdentifier("2.5.29.99")
    if twice:
        builder = builder.add_extension(x509.UnrecognizedExtension(other, names), False)
    der = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    return der.replace(bytes((6, 3, 0x55, 0x1D, 99)), bytes((6, 3, 0x55, 0x1D, 17)))


@pytest.mark.parametrize(
    "der",
    [
        pytest.param(_with_names(bytes.fromhex("300a86087572693a61626364"), twice=True), id="names twice"),
        pytest.param(_with_names(bytes.fromhex("3004a3023000")), id="an X.400 address"),
        pytest.param(_with_names(bytes.fromhex("3004a5023000")), id="an EDI party"),
        pytest.param(_with_names(bytes.fromhex("300382 01ff")), id="a DNS name beyond ASCII"),
    ],
)
def test_a_certificate_with_names_that_cannot_be_read_is_nobodys(der: bytes) -> None:
    with pytest.raises(CertificateUnreadable):
        facts_of(der)


@pytest.mark.parametrize("der", [b"", b"nonsense", bytes(300)])
def test_what_is_no_certificate_is_said_to_be_none(der: bytes) -> None:
    with pytest.raises(CertificateUnreadable):
        facts_of(der)
