"""Identifying facts and the sealed field they travel in.

Only ciphertext is here; sealing and opening are `imex.sealing`.
"""

from pydantic import BaseModel, ConfigDict, Field


class Sealed(BaseModel):
    """AES-GCM ciphertext (NIST SP 800-38D) with the name of its key."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key_id: str
    nonce: str = Field(description="96 bits, base64")
    ciphertext: str = Field(description="with its tag, base64")


class Identity(BaseModel):
    """Who and what a study is about, as its sender wrote it: the plaintext of a sealed field."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    patient_id: str = ""
    issuer: str = Field(default="", description="Issuer of Patient ID (0010,0021)")
    patient_name: str = ""
    birth_date: str = Field(default="", description="DICOM DA: YYYYMMDD")
    sex: str = ""
    accession: str = Field(default="", description="Accession Number (0008,0050)")
    accession_issuer: str = ""
    study_date: str = ""
    study_time: str = ""
    study_description: str = ""
    series_description: str = ""
    referring_physician: str = ""
    nhs_number: str = Field(
        default="", description="of Other Patient IDs Sequence (0010,1002), where Patient ID is another"
    )


class SealedPerson(BaseModel):
    """Who a command is about: the plaintext of a sealed field. Patient data: never log it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    issuer: str
    patient_id: str
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""


class SealedWanted(BaseModel):
    """Which studies a request is about, by one of these. Patient data: never log it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    issuer: str = ""
    patient_id: str = ""
    accession: str = ""
    study_uid: str = ""


def seal_context(kind: str, identifier: object) -> bytes:
    """What the sealed field of a command is bound to: the kind of thing that it is about, and its id."""
    return f"{kind}/{identifier}".encode()
