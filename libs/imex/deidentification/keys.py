"""A project's key: from it come its UIDs, its pseudonyms and by how many days a patient's dates move.

The same input gives the same output within a project, and nothing that can be linked in another. Without the
key nothing can be turned back: the way back is the table of what was given out.
"""

import base64
import hashlib
import hmac
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from imex.dicom import compact, is_nhs_issuer

_KEY_BYTES: Final = 32
_LABEL: Final = b"imex/deidentification/1/"
_STANDARD: Final = "1.2.840.10008."
SHORTEST_SHIFT: Final = 30
LONGEST_SHIFT: Final = 1825
"""Days. Dates move back by a number between the two."""


class ProjectKey:
    """What is derived within one project. Its text shows nothing of the key."""

    __slots__ = ("_secret", "project")

    def __init__(self, sealing_key: bytes, project: str) -> None:
        """By HKDF (RFC 5869) from a sealing key of 32 bytes."""
        self.project = project
        self._secret = HKDF(
            algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=_LABEL + project.encode()
        ).derive(sealing_key)

    def __repr__(self) -> str:
        return f"ProjectKey({self.project!r})"

    def uid(self, original: str) -> str:
        """The UID that stands for another: `2.25.` and a UUID of version 8 (PS3.5 annex B.2, RFC 9562).

        UIDs of the standard itself stay what they are.
        """
        if not original or original.startswith(_STANDARD):
            return original
        number = int.from_bytes(self._digest("uid", original)[:16])
        number = number & ~(0xF << 76) | 0x8 << 76
        number = number & ~(0x3 << 62) | 0x2 << 62
        return f"2.25.{UUID(int=number).int}"

    def pseudonym(self, patient: str) -> str:
        """The Patient ID that stands for a patient (see `patient_key`): 16 letters and digits, 80 bits."""
        return base64.b32encode(self._digest("patient", patient)[:10]).decode()

    def days(self, patient: str) -> int:
        """By how many days a patient's dates move: into the past, so that none lies in the future."""
        drawn = int.from_bytes(self._digest("dates", patient)[:8])
        return -(SHORTEST_SHIFT + drawn % (LONGEST_SHIFT - SHORTEST_SHIFT + 1))

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.new(self._secret, f"{kind}\x1f{value}".encode(), hashlib.sha256).digest()


def patient_key(source: str, study_uid: str, patient_id: str, issuer: str) -> str:
    """What a patient is told apart by: the Patient ID with its issuer, else the source that sent it.

    An NHS number is the same person wherever it comes from; without a Patient ID each study is its own.
    """
    if not patient_id.strip():
        return f"study\x1f{source}\x1f{study_uid}"
    if is_nhs_issuer(issuer):
        return f"NHS\x1f{compact(patient_id)}"
    return f"{issuer.strip() or source}\x1f{source}\x1f{patient_id.strip()}"
