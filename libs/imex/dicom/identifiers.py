"""Forms of identifiers: DICOM UIDs (PS3.5 section 9.1) and NHS numbers."""

import re
from typing import Final

from nhs_number.validate import is_valid

NHS_ISSUER: Final = "NHS"
NHS_NUMBER_OID: Final = "2.16.840.1.113883.2.1.4.1"
_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+", re.ASCII)
_SEPARATORS = str.maketrans("", "", " -")


def valid_uid(uid: str) -> bool:
    """Whether a UID has the form of PS3.5 section 9.1: dotted numbers, no leading zeros, at most 64 long."""
    return 0 < len(uid) <= 64 and _UID.fullmatch(uid) is not None


def is_nhs_issuer(issuer: str, oid: str = "") -> bool:
    """Whether an identifier's issuer, by name or by universal entity id, makes it an NHS number."""
    return issuer.strip().upper() == NHS_ISSUER or NHS_NUMBER_OID in (issuer.strip(), oid.strip())


def compact(identifier: str) -> str:
    """An identifier without the spaces and hyphens that people write between its characters."""
    return identifier.translate(_SEPARATORS)


def qualified(issuer: str, patient_id: str, source: str) -> tuple[str, str]:
    """A Patient ID with who assigned it; without an issuer it is the sender's own."""
    if is_nhs_issuer(issuer):
        return NHS_ISSUER, compact(patient_id.strip())
    return issuer.strip() or source, patient_id.strip()


def nhs_number_valid(number: str) -> bool:
    """Whether a text is an NHS number: ten digits (spaces and hyphens aside) whose modulus 11 agrees."""
    digits = compact(number)
    if len(digits) != 10 or not (digits.isascii() and digits.isdigit()):
        return False
    return bool(is_valid(digits))
