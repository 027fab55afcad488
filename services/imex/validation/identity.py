"""Demographics: when two of them are one person's. Pure."""

import re
from dataclasses import dataclass

from imex.dicom import is_nhs_issuer
from imex.events import Identity

_SPACES = re.compile(r"\s+")
_SEXES = {"M", "F"}


@dataclass(frozen=True, slots=True)
class Demographics:
    """What is compared, normalised: an empty field is unknown and disagrees with nothing."""

    issuer: str
    patient_id: str
    patient_name: str
    birth_date: str
    sex: str

    @property
    def person(self) -> tuple[str, str] | None:
        """The qualified identifier; None where there is none to know a person by."""
        return (self.issuer, self.patient_id) if self.patient_id else None


def demographics(identity: Identity, source: str) -> Demographics:
    """The demographics of an instance from `source`, whose identifiers are its own unless it says whose."""
    nhs = is_nhs_issuer(identity.issuer)
    patient_id = identity.patient_id.strip()
    return Demographics(
        issuer="NHS" if nhs else identity.issuer.strip() or source,
        patient_id=re.sub(r"[ -]", "", patient_id) if nhs else patient_id,
        patient_name=_name(identity.patient_name),
        birth_date=identity.birth_date.strip(),
        sex=identity.sex.strip().upper(),
    )


def _name(text: str) -> str:
    # PS3.5 6.2.1: groups by "=", of which the first is compared; trailing empty components mean nothing
    components = text.split("=", 1)[0].rstrip("^ ").casefold().split("^")
    return "^".join(_SPACES.sub(" ", component).strip() for component in components)


def disagreements(one: Demographics, other: Demographics, *, identifiers: bool) -> list[str]:
    """The names of the fields that differ; with `identifiers`, the identifier is compared too."""
    found = []
    if identifiers and one.person and other.person and one.person != other.person:
        found.append("Patient ID")
    if one.patient_name and other.patient_name and one.patient_name != other.patient_name:
        found.append("Patient's Name")
    if one.birth_date and other.birth_date and one.birth_date != other.birth_date:
        found.append("Patient's Birth Date")
    if {one.sex, other.sex} <= _SEXES and one.sex != other.sex:
        found.append("Patient's Sex")
    return found
